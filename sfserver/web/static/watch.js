import { ask, clock, find, say, size } from "/static/page.js";

const videoId = location.pathname.split("/").pop();
const screen = document.querySelector("video");
const HLS = "application/vnd.apple.mpegurl";

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
  if (screen.canPlayType(HLS)) choices.unshift(option("Auto", `/api/videos/${videoId}/hls/master.m3u8`));
  find("quality").replaceChildren(...choices);
  const middling = choices.findIndex((each) => ["Auto", "720p"].includes(each.textContent));
  find("quality").selectedIndex = Math.max(0, middling);
  find("downloads").replaceChildren("Download", ...video.renditions.map(link));
  if (video.poster_url) screen.poster = video.poster_url;
  find("player").hidden = false;
  find("work").hidden = true;
  play(find("quality").value);
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

function follow(jobId) {
  const events = new EventSource(`/api/jobs/${jobId}/events`);
  // The browser calls a broken connection "error" too, without data; it connects again by itself.
  const on = (kind, act) => events.addEventListener(kind, (event) => event.data && act(JSON.parse(event.data)));
  find("work").hidden = false;
  on("snapshot", ({ jobs }) => showProgress(jobs[0]));
  on("progress", showProgress);
  on("error", ({ error }) => say(error.detail));
  on("done", () => {
    events.close();
    show();
  });
}

async function show() {
  try {
    const video = await ask(`/api/videos/${videoId}`);
    showFacts(video);
    if (video.renditions.length) showPlayer(video);
    else if (["queued", "processing"].includes(video.status)) follow(video.job_id);
    else await showEnd(video);
  } catch (error) {
    say(error.status === 404 ? "There is no such video, or this browser is not signed in: “sfctl open” gives a link." : error.message);
  }
}

async function showEnd(video) {
  find("work").hidden = true;
  const job = await ask(`/api/jobs/${video.job_id}/status`);
  say(job.error ? `${job.error.detail}. ${job.error.hint ?? ""}` : `This video is ${job.status}.`);
}

find("quality").addEventListener("change", (event) => play(event.target.value));
show();
