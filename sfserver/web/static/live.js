// Plays a video of ours while it is still being made, by Media Source Extensions: follows the HLS lists that grow and
// appends their byte ranges, picture and sound apart.

import { GoneError, get, readList } from "/static/playlists.js";

const AHEAD_S = 30;
const BEHIND_S = 30;
const REST_MS = 200;
const RETRY_MS = 2000;
const HURRY_MS = 1000;
const SLACK_S = 0.15;

export const canFeed = window.MediaSource?.isTypeSupported('video/mp4; codecs="avc1.640028,mp4a.40.2"') ?? false;

const rest = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// One SourceBuffer, filled from one list.
class Track {
  constructor(player, url, kind, codecs) {
    Object.assign(this, { player, url, due: 0, ahead_s: AHEAD_S, list: { segments: [], ended: false } });
    this.buffer = player.source.addSourceBuffer(`${kind}/mp4; codecs="${codecs}"`);
  }

  async run() {
    while (this.player.isRunning) {
      try {
        await this.step();
      } catch (error) {
        if (!this.player.isRunning) return;
        if (error instanceof GoneError || error instanceof DOMException) throw error;
        await rest(RETRY_MS);
      }
    }
  }

  async step() {
    if (!this.list.ended && performance.now() >= this.due) await this.refresh();
    const segment = this.needed();
    if (segment) {
      await this.load(segment);
    } else {
      this.player.endIfComplete();
      await rest(REST_MS);
    }
  }

  async refresh() {
    this.list = await readList(this.url);
    // RFC 8216, 6.3.4 asks for a target duration between two looks; who has little left to play looks sooner.
    const left_s = this.end_s - this.player.video.currentTime;
    this.due = performance.now() + Math.max(HURRY_MS, 1000 * Math.min(left_s / 2, this.list.target_s));
  }

  get end_s() {
    return this.list.segments.at(-1)?.end ?? 0;
  }

  needed() {
    const now = this.player.video.currentTime;
    return this.list.segments.find((each) => each.end > now && each.start < now + this.ahead_s && !this.has(each));
  }

  // Whether what may be appended of a segment is there, give or take a few frames at its ends.
  has({ start, end }) {
    const { buffered } = this.buffer;
    const last = Math.min(end, this.player.limit_s(this)) - SLACK_S;
    const first = Math.min(start + SLACK_S, last);
    if (last <= start) return true;
    return [...Array(buffered.length).keys()].some((at) => buffered.start(at) <= first && last <= buffered.end(at));
  }

  get isComplete() {
    const last = this.list.segments.at(-1);
    return this.list.ended && !this.buffer.updating && !this.needed() && (!last || this.has(last));
  }

  async load(segment) {
    const init = this.hasInit ? null : await this.fetch(this.list.init);
    const data = await this.fetch(segment.url, segment.range);
    if (init) await this.change(() => this.buffer.appendBuffer(init));
    this.hasInit = true;
    try {
      this.buffer.appendWindowEnd = this.player.limit_s(this);
      await this.change(() => this.buffer.appendBuffer(data));
      await this.evict(2 * BEHIND_S);
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      // Less is kept from now on, and the segment is fetched again when it is needed.
      this.ahead_s = Math.max(5, this.ahead_s / 2);
      await this.evict(5);
      const beyond = Math.min(this.player.video.currentTime + this.ahead_s, this.player.source.duration);
      await this.change(() => this.buffer.remove(beyond, Infinity));
      await rest(HURRY_MS);
    }
  }

  async evict(most_s) {
    const now = this.player.video.currentTime;
    const { buffered } = this.buffer;
    if (!buffered.length || buffered.start(0) >= now - most_s) return;
    await this.change(() => this.buffer.remove(0, now - Math.min(most_s, BEHIND_S)));
  }

  change(act) {
    return new Promise((resolve, reject) => {
      this.buffer.onupdateend = resolve;
      this.buffer.onerror = () => reject(new DOMException("this browser cannot decode it"));
      act();
    });
  }

  async fetch(url, range) {
    const headers = range ? { Range: `bytes=${range[1]}-${range[0] + range[1] - 1}` } : {};
    return (await get(url, { headers, signal: this.player.signal })).arrayBuffer();
  }
}

export class LivePlayer {
  // `onEnd` hears why it cannot go on.
  constructor(video, duration_s, onEnd) {
    Object.assign(this, { video, duration_s, onEnd, isRunning: true, tracks: [], source: new MediaSource() });
    this.abort = new AbortController();
    this.signal = this.abort.signal;
  }

  async play(master, variant, from_s) {
    try {
      await this.open(master, variant, from_s);
      await Promise.all(this.tracks.map((each) => each.run()));
    } catch (error) {
      this.fail(error);
    }
  }

  async open(master, variant, from_s) {
    const isOpen = new Promise((resolve) => { this.source.addEventListener("sourceopen", resolve, { once: true }); });
    this.video.src = URL.createObjectURL(this.source);
    await isOpen;
    URL.revokeObjectURL(this.video.src);
    this.source.duration = this.duration_s ?? Infinity;
    if (from_s) this.video.currentTime = from_s;
    const ofSound = (each) => each.startsWith("mp4a");
    this.tracks.push(new Track(this, variant.url, "video", variant.codecs.filter((each) => !ofSound(each))));
    if (master.sound) this.tracks.push(new Track(this, master.sound, "audio", variant.codecs.filter(ofSound)));
  }

  // Everything is made: the lists that stay say so at once.
  complete() {
    for (const track of this.tracks) Object.assign(track, { url: track.url.replace("/hls/live/", "/hls/"), due: 0 });
  }

  // Sound is cut where its picture ends so far, and appended again when there is more: else browsers play the sound
  // on, and skip the pictures that come too late.
  limit_s(track) {
    const [picture] = this.tracks;
    return track === picture || picture.list.ended ? Infinity : Math.max(picture.end_s, SLACK_S);
  }

  endIfComplete() {
    if (this.source.readyState === "open" && this.tracks.every((each) => each.isComplete)) this.source.endOfStream();
  }

  fail(error) {
    if (!this.isRunning) return;
    this.stop();
    this.onEnd(error);
  }

  stop() {
    this.isRunning = false;
    this.abort.abort();
  }
}
