// A video element with eyes and ears: which frame is on it, when each came, and when it was loud.
const WIDTH = 320, HEIGHT = 180, BITS = 10, LOUD = 0.2, NEAR_S = 0.2;
const sound = new AudioContext();

export const within = (promise, what, timeout_ms = 15000) => Promise.race([
  promise,
  new Promise((_, reject) => setTimeout(() => reject(new Error(`${what} took longer than ${timeout_ms} ms`)), timeout_ms)),
]);

export class Screen {
  constructor() {
    this.video = Object.assign(document.createElement("video"), { crossOrigin: "anonymous", playsInline: true });
    this.video.width = WIDTH;
    this.video.height = HEIGHT;
    document.body.append(this.video);
    this.canvas = new OffscreenCanvas(WIDTH, HEIGHT).getContext("2d", { willReadFrequently: true });
    this.frames = [];
    this.beeps = [];
    this.errors = [];
    this.video.addEventListener("error", () => this.errors.push(this.video.error.message || `code ${this.video.error.code}`));
  }

  // The row of squares that every frame of the clip carries: least significant bit first.
  read() {
    this.canvas.drawImage(this.video, 0, 0, WIDTH, HEIGHT);
    const square = WIDTH / (BITS + 2);
    const row = this.canvas.getImageData(0, Math.round(HEIGHT / 4 + square / 2), WIDTH, 1).data;
    const bits = [...Array(BITS).keys()].map((bit) => row[4 * Math.round(square * (bit + 1.5)) + 1] > 122);
    const number = bits.reduce((sum, on, bit) => sum + (on << bit), 0);
    return { number, white: row[4 * 4 + 1] > 122, time: this.video.currentTime, height: this.video.videoHeight };
  }

  heard(event, timeout_ms) {
    const heard = new Promise((resolve, reject) => {
      this.video.addEventListener(event, resolve, { once: true });
      this.video.addEventListener("error", () => reject(new Error(this.errors.join("; "))), { once: true });
    });
    return within(heard, event, timeout_ms);
  }

  async until(condition, what, timeout_ms = 15000) {
    const deadline = performance.now() + timeout_ms;
    while (!condition()) {
      if (this.errors.length) throw new Error(this.errors.join("; "));
      if (performance.now() > deadline) throw new Error(`${what} not within ${timeout_ms} ms, at ${this.video.currentTime} s`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async seek(time) {
    // What was under way when it was asked may still be announced.
    const shown = new Promise((resolve) => {
      const look = (_, { mediaTime }) => {
        if (Math.abs(mediaTime - time) < NEAR_S) resolve();
        else this.video.requestVideoFrameCallback(look);
      };
      this.video.requestVideoFrameCallback(look);
    });
    const sought = this.heard("seeked");
    this.video.currentTime = time;
    await sought.catch((error) => { throw new Error(`a seek to ${time} s: ${error.message}; ${this.state()}`); });
    // A frame that is there already is not always announced.
    await Promise.race([shown, new Promise((resolve) => setTimeout(resolve, 500))]);
    return this.read();
  }

  state() {
    const { currentTime, readyState, networkState, buffered, paused, ended } = this.video;
    const ranges = [...Array(buffered.length).keys()].map((n) => `${buffered.start(n)}–${buffered.end(n)}`);
    return JSON.stringify({ currentTime, readyState, networkState, paused, ended, ranges });
  }

  // The last frame may be drawn a moment after the end was announced.
  async atRest() {
    await new Promise((resolve) => setTimeout(resolve, 250));
    return this.read();
  }

  // Note every frame that is shown from now on: when, at what time of the video, its number, whether it is white.
  record() {
    const note = (_, { presentationTime, mediaTime }) => {
      const { number, white, height } = this.read();
      if (!this.video.seeking) this.frames.push({ at_ms: presentationTime, time: mediaTime, number, white, height });
      this.video.requestVideoFrameCallback(note);
    };
    this.video.requestVideoFrameCallback(note);
  }

  // Note when it gets loud after a quarter of a second of quiet, on the clock of the frames.
  async listen() {
    await within(sound.resume(), "resume()");
    const ear = new AnalyserNode(sound, { fftSize: 4096 });
    sound.createMediaElementSource(this.video).connect(ear).connect(sound.destination);
    const wave = new Float32Array(ear.fftSize);
    let last_ms = -Infinity;
    this.ear = setInterval(() => {
      ear.getFloatTimeDomainData(wave);
      const now_ms = performance.now();
      const first = wave.findIndex((sample) => Math.abs(sample) > LOUD);
      if (first < 0) return;
      const at_ms = now_ms - (1000 * (wave.length - first)) / sound.sampleRate;
      if (at_ms - last_ms > 250) this.beeps.push(at_ms);
      last_ms = now_ms;
    }, 20);
  }

  // Record picture and sound as they leave the element, for a browser whose AudioContext wants a loudspeaker.
  tape() {
    const recorder = new MediaRecorder(this.video.captureStream?.() ?? this.video.mozCaptureStream());
    const parts = [];
    recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
    recorder.start();
    return async () => {
      const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve, { once: true }));
      recorder.stop();
      await within(stopped, "the tape");
      const reader = new FileReader();
      const read = new Promise((resolve) => reader.addEventListener("load", resolve, { once: true }));
      reader.readAsDataURL(new Blob(parts));
      await read;
      return reader.result.split(",")[1];
    };
  }

  close() {
    clearInterval(this.ear);
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
    this.video.remove();
  }
}
