import { LivePlayer, canFeed } from "/static/live.js";
import { ask, clock, find, say, size } from "/static/page.js";
import { GoneError, readList, readMaster } from "/static/playlists.js";

const videoId = location.pathname.split("/").pop();
const screen = document.querySelector("video");
const HLS = "application/vnd.apple.mpegurl";
const MASTER = `/api/videos/${videoId}/hls/master.m3u8`;

function option(label, url) {
  const made = document.createElement("option");
  made.textContent = label;
  made.value = url;
  return made;
}

function link(rendition) {
  const made = document.createElement("a");
  made.href = `${rendition.url}?download=1`;
  made.textContent = `${rendition.quality} (${size(rendition.size_bytes)})`;
  return made;
}

// A change of quality goes on where the last one was.
function play(url) {
  stopLive();
  const { currentTime, paused } = screen;
  screen.src = url;
  if (!currentTime) return;
  screen.addEventListener("loadedmetadata", () => {
    screen.currentTime = currentTime;
    if (!paused) screen.play();
  }, { once: true });
}

function showPlayer(video) {
  const choices = video.renditions.map((each) => option(each.quality, each.url));
  if (screen.canPlayType(HLS)) choices.unshift(option("Auto", MASTER));
  const wanted = live ? [live.name] : ["Auto", "720p"];
  find("quality").replaceChildren(...choices);
  find("quality").selectedIndex = Math.max(0, choices.findIndex((each) => wanted.includes(each.textContent)));
  find("downloads").replaceChildren("Download", ...video.renditions.map(link));
  if (video.poster_url) screen.poster = video.poster_url;
  find("player").hidden = false;
  find("downloads").hidden = false;
  find("work").hidden = true;
  // What has begun to play goes on: its segments stay what they are.
  if (live?.isPlaying) live.isMade = true;
  else play(find("quality").value);
  live?.player?.complete();
}

// What plays while it is being made: `name` of its quality, and our own player where there is one.
let live = null;

async function playLive() {
  if (live || !(canFeed || screen.canPlayType(HLS))) return;
  const mine = live = { name: "Auto", player: null, master: null, begun: new Set() };
  try {
    const video = await ask(`/api/videos/${videoId}`);
    mine.duration_s = video.duration_s;
    if (video.poster_url) screen.poster = video.poster_url;
    // Chromium's own HLS stays at the end of a list that grows, so that is for browsers without Media Source alone.
    if (canFeed) await offerQualities(mine);
    else playNatively();
  } catch (error) {
    if (live === mine) leaveLive(error);
  }
}

function playNatively() {
  find("quality").replaceChildren(option("Auto", MASTER));
  screen.src = MASTER;
  begin();
}

function begin() {
  live.isPlaying = true;
  find("downloads").hidden = true;
  find("player").hidden = false;
  say("");
  // Where the browser allows it: else there are the controls.
  screen.play().catch(() => {});
}

// Only qualities that have begun are offered; the first of the playlist is the one to begin with.
async function offerQualities(mine) {
  if (live !== mine || mine.isMade) return;
  mine.master ??= await readMaster(MASTER);
  const { variants } = mine.master;
  for (const each of variants) {
    if (!mine.begun.has(each) && (await readList(each.url)).segments.length) mine.begun.add(each);
  }
  if (live !== mine || mine.isMade) return;
  const begun = variants.filter((each) => mine.begun.has(each));
  find("quality").replaceChildren(...begun.map((each) => option(each.name, each.url)));
  if (!mine.player && begun.length) feed(begun[0]);
  find("quality").selectedIndex = begun.findIndex((each) => each.name === mine.name);
  if (begun.length < variants.length) offerLater(mine);
}

function offerLater(mine) {
  setTimeout(() => offerQualities(mine).catch(() => offerLater(mine)), 3000);
}

// A change of quality goes on where the last one was.
function feed(variant) {
  const { currentTime, paused } = screen;
  live.player?.stop();
  live.name = variant.name;
  live.player = new LivePlayer(screen, live.duration_s, leaveLive);
  live.player.play(live.master, variant, currentTime);
  if (!live.isPlaying) begin();
  else if (!paused) screen.play();
}

function stopLive() {
  live?.player?.stop();
  live = null;
}

// What ended it the video or its job says; where they go on, so does the page.
function leaveLive(error) {
  if (!live) return;
  stopLive();
  screen.removeAttribute("src");
  screen.load();
  find("player").hidden = true;
  if (error instanceof GoneError) show();
  else if (error) say(error.message);
}

function showFacts(video) {
  document.title = `${video.title} · StreamForge`;
  find("title").textContent = video.title;
  find("description").textContent = video.description;
  find("facts").textContent = [clock(video.duration_s), video.visibility].filter(Boolean).join(" · ");
}

function showProgress(job) {
  const left = job.eta_s === null ? "" : `, ${clock(job.eta_s)} left`;
  if (job.waiting) find("stage").textContent = `waiting: ${job.waiting.detail}`;
  else find("stage").textContent = `${job.stage ?? job.status ?? "working"}: ${Math.round(100 * job.progress)} %${left}`;
  find("overall").value = job.progress;
  find("rungs").replaceChildren(...Object.entries(job.rungs).flatMap(rung));
}

function rung([name, state]) {
  const [label, value, speed] = ["dt", "dd", "dd"].map((tag) => document.createElement(tag));
  const bar = document.createElement("progress");
  bar.value = state.progress;
  label.textContent = name;
  value.append(bar);
  speed.textContent = state.fps ? `${state.fps} fps` : "";
  return [label, value, speed];
}

let events = null;
let timer = 0;

function follow(video) {
  find("work").hidden = false;
  // The events of a job are its owner's; others look again.
  clearTimeout(timer);
  if (!video.job_id) timer = setTimeout(show, 5000);
  if (!video.job_id || events) return;
  events = new EventSource(`/api/jobs/${video.job_id}/events`);
  // The browser calls a broken connection "error" too, without data; it connects again by itself.
  const on = (kind, act) => events.addEventListener(kind, (event) => event.data && act(JSON.parse(event.data)));
  on("snapshot", ({ jobs }) => {
    showProgress(jobs[0]);
    if (jobs[0].playable_at && jobs[0].status === "processing") playLive();
  });
  on("progress", showProgress);
  on("playable", playLive);
  on("error", ({ error }) => say(error.detail));
  on("done", () => {
    events.close();
    events = null;
    show();
  });
}

async function show() {
  try {
    const video = await ask(`/api/videos/${videoId}`);
    showFacts(video);
    if (video.renditions.length) showPlayer(video);
    else if (["queued", "processing"].includes(video.status)) {
      follow(video);
      if (await isPlayable()) await playLive();
    } else await showEnd(video);
  } catch (error) {
    say(error.status === 404 ? "There is no such video, or this browser is not signed in: “sfctl open” gives a link." : error.message);
  }
}

async function isPlayable() {
  const answer = await fetch(MASTER, { method: "HEAD" });
  return answer.ok;
}

async function showEnd(video) {
  leaveLive();
  find("work").hidden = true;
  const job = video.job_id ? await ask(`/api/jobs/${video.job_id}/status`) : video;
  say(job.error ? `${job.error.detail}. ${job.error.hint ?? ""}` : `This video is ${job.status}.`);
}

find("quality").addEventListener("change", (event) => {
  const variant = live?.master?.variants.find((each) => each.url === event.target.value);
  if (variant) feed(variant);
  else play(event.target.value);
});
screen.addEventListener("error", () => {
  // Our own player says by itself what is wrong; a browser's own cannot tell it.
  if (!live || live.player) return;
  leaveLive();
  setTimeout(show, 3000);
});
show();
