// What every player is put through. Each returns what was seen; whether that is right is for the test to say.
import { players } from "./players.js";
import { Screen, within } from "./screen.js";

async function opened(name, { media, height, other }, use, timeout_ms) {
  const screen = new Screen();
  let player;
  try {
    const loaded = screen.heard("loadeddata", timeout_ms);
    loaded.catch(() => {});
    player = await players[name](screen, media, height, other);
    await loaded;
    await player.settle?.();
    const { duration, videoWidth, videoHeight } = screen.video;
    const seen = await use(screen, player);
    return { duration, size: [videoWidth, videoHeight], errors: screen.errors, ...seen };
  } catch (error) {
    throw new Error([error, ...screen.errors].join("; "));
  } finally {
    await player?.close();
    screen.close();
  }
}

const recorded = (screen) => ({ frames: screen.frames, beeps: screen.beeps });

async function play(screen) {
  screen.record();
  await within(screen.video.play(), "play()");
}

function start(name, task) {
  return opened(name, task, async (screen) => {
    const first = screen.read();
    const stop = task.on_tape ? screen.tape() : await screen.listen();
    await play(screen);
    await screen.until(() => screen.video.currentTime >= task.play_s, `${task.play_s} s of the video`);
    return { first, tape: await stop?.(), ...recorded(screen) };
  });
}

function seek(name, task) {
  return opened(name, task, async (screen) => {
    const shown = [];
    for (const time of task.times) shown.push(await screen.seek(time));
    return { shown };
  });
}

function switchQuality(name, task) {
  return opened(name, task, async (screen, player) => {
    const shows = (height) => screen.frames.at(-1)?.height === height;
    await play(screen);
    await screen.until(() => shows(task.height), `${task.height} lines`);
    screen.frames.splice(0, screen.frames.length - 1);
    await screen.until(() => screen.video.currentTime > 1.5, "a second and a half");
    const asked_ms = performance.now();
    await player.switchTo(task.other);
    await screen.until(() => shows(task.other), `${task.other} lines`);
    const switched = screen.video.currentTime;
    await screen.until(() => screen.video.currentTime > switched + 1, "a second more");
    return { asked_ms, ...recorded(screen) };
  });
}

async function toTheEnd(screen, tail_s) {
  await screen.seek(screen.video.duration - tail_s);
  const ended = screen.heard("ended");
  await screen.video.play();
  await ended;
  return { end: screen.video.currentTime, last: await screen.atRest(), final_duration: screen.video.duration };
}

function end(name, task) {
  return opened(name, task, (screen) => toTheEnd(screen, task.tail_s));
}

function silent(name, task) {
  return opened(name, task, async (screen) => {
    const first = screen.read();
    const shown = await screen.seek(task.time);
    return { first, shown, ...(await toTheEnd(screen, task.tail_s)) };
  });
}

async function backToStart(screen, at_s) {
  await screen.until(() => screen.video.currentTime >= at_s, `${at_s} s of the video`, 30000);
  const before = screen.frames.length, asked_ms = performance.now();
  const back = await screen.seek(0);
  return { before, back, again_ms: performance.now() - asked_ms };
}

// From the first frame on while it is encoded, on to the end of what becomes a whole video; if asked, once back to 0.
function live(name, task) {
  return opened(name, task, async (screen) => {
    const first = screen.read(), opened_ms = performance.now();
    await play(screen);
    const went = task.back_at_s ? await backToStart(screen, task.back_at_s) : { before: 0 };
    await screen.until(() => screen.video.ended, "the end", task.timeout_ms);
    const last = await screen.atRest();
    const { currentTime, duration } = screen.video;
    return { first, opened_ms, ...went, last, end: currentTime, final_duration: duration, ...recorded(screen) };
  }, 30000);
}

export const exercises = { start, seek, switch: switchQuality, end, silent, live };
