// Each player by one face: open(screen, media, height, other), then switchTo(other) and close().
// settle(), where there is one, has to end before the first seek.
// media = { files: { height: url }, hls, dash }; a player in JavaScript stays at the quality of `height` until told.
const script = (path) => new Promise((resolve, reject) => {
  const tag = Object.assign(document.createElement("script"), { src: `/scripts/${path}`, onload: resolve });
  tag.onerror = () => reject(new Error(`no ${path}`));
  document.head.append(tag);
});
const loaded = {};
const load = (path) => (loaded[path] ??= script(path));
const AHEAD_S = 4;

async function progressive(screen, media, height) {
  screen.video.src = media.files[height];
  return {
    async switchTo(other) {
      screen.video.pause();
      // Firefox announces frames before its clock gets there.
      const time = Math.max(screen.video.currentTime, screen.frames.at(-1).time);
      const known = screen.heard("loadedmetadata");
      screen.video.src = media.files[other];
      await known;
      screen.video.currentTime = time;
      await screen.video.play();
    },
    async close() {},
  };
}

async function native(screen, media) {
  screen.video.src = media.hls;
  return { async close() {} };
}

// A seek to the last frame before a gap in what is loaded can fail to end: have the first half loaded before.
const halfLoaded = (screen) => {
  const loadedTo = () => (screen.video.buffered.length ? screen.video.buffered.end(0) : 0);
  return screen.until(() => loadedTo() > screen.video.duration / 2, "half of the video loaded");
};

async function hlsjs(screen, media, height, other) {
  await load("hls.js/dist/hls.min.js");
  const { Hls } = window;
  const hls = new Hls(other && { maxBufferLength: AHEAD_S, maxMaxBufferLength: AHEAD_S });
  const level = (wanted) => hls.levels.findIndex((each) => each.height === wanted);
  hls.on(Hls.Events.ERROR, (_, data) => data.fatal && screen.errors.push(`hls.js: ${data.type} ${data.details}`));
  hls.on(Hls.Events.MANIFEST_PARSED, () => { hls.loadLevel = level(height); });
  hls.loadSource(media.hls);
  hls.attachMedia(screen.video);
  return {
    async settle() { if (!other) await halfLoaded(screen); },
    async switchTo(height) { hls.nextLevel = level(height); },
    async close() { hls.destroy(); },
  };
}

async function shakaPlayer(screen, source, height) {
  await load("shaka-player/dist/shaka-player.compiled.js");
  const { shaka } = window;
  const player = new shaka.Player();
  await player.attach(screen.video);
  player.addEventListener("error", ({ detail }) => screen.errors.push(`shaka: ${detail.code} ${detail.data}`));
  const restricted = { maxHeight: height, minHeight: height };
  player.configure({ abr: { enabled: false, restrictions: restricted }, streaming: { bufferingGoal: AHEAD_S } });
  await player.load(source);
  return {
    async switchTo(other) {
      player.configure({ abr: { restrictions: { maxHeight: Infinity, minHeight: 0 } } });
      player.selectVariantTrack(player.getVariantTracks().find((track) => track.height === other), true, 1);
    },
    async close() { await player.destroy(); },
  };
}

async function dashjs(screen, media, height, other) {
  await load("dashjs/dist/modern/umd/dash.all.min.js");
  const { MediaPlayer } = window.dashjs;
  const player = MediaPlayer().create();
  const found = (wanted) => player.getRepresentationsByType("video").findIndex((each) => each.height === wanted);
  const buffer = { bufferTimeDefault: AHEAD_S, bufferTimeAtTopQuality: AHEAD_S, fastSwitchEnabled: true };
  player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: false } }, ...(other && { buffer }) } });
  player.on("error", ({ error }) => screen.errors.push(`dash.js: ${error.code} ${error.message}`));
  // It can't be told what to begin with; a switch in its first moments, and it may never end a seek that comes then.
  if (other) player.on("streamInitialized", () => player.setRepresentationForTypeByIndex("video", found(height)));
  else player.registerCustomCapabilitiesFilter((each) => !each.height || each.height === height);
  player.initialize(screen.video, media.dash, false);
  return {
    async settle() { if (!other) await halfLoaded(screen); },
    async switchTo(other) { player.setRepresentationForTypeByIndex("video", found(other)); },
    async close() { player.destroy(); },
  };
}

export const players = {
  progressive,
  native,
  "hls.js": hlsjs,
  "shaka HLS": (screen, media, height) => shakaPlayer(screen, media.hls, height),
  "shaka DASH": (screen, media, height) => shakaPlayer(screen, media.dash, height),
  "dash.js": dashjs,
};
