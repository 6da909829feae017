import { ask, clock, find, say } from "/static/page.js";

let cursor = null;

function row(video) {
  const item = find("row").content.cloneNode(true);
  item.querySelector("a").href = video.watch_url;
  if (video.poster_url) item.querySelector(".thumb").append(thumb(`${video.poster_url}?size=small`));
  item.querySelector(".title").textContent = video.title;
  const state = video.status === "ready" ? clock(video.duration_s) : video.status;
  item.querySelector(".facts").textContent = [state, video.visibility].filter(Boolean).join(" · ");
  return item;
}

// Its box has its size from the start, with a picture in it or without.
function thumb(url) {
  const made = new Image(96, 54);
  made.loading = "lazy";
  made.alt = "";
  made.addEventListener("error", () => made.remove());
  made.src = url;
  return made;
}

async function load() {
  try {
    const page = await ask(`/api/videos?limit=50${cursor ? `&cursor=${cursor}` : ""}`);
    find("videos").append(...page.items.map(row));
    cursor = page.next_cursor;
    find("more").hidden = cursor === null;
    find("upload").hidden = false;
    if (!find("videos").children.length) say("Nothing here yet.");
  } catch (error) {
    say(error.status === 401 ? "Not signed in. Run “sfctl open” for a link that signs this browser in." : error.message);
  }
}

function upload(event) {
  event.preventDefault();
  const form = event.target;
  const bar = form.querySelector("progress");
  const request = new XMLHttpRequest();
  request.responseType = "json";
  request.upload.onprogress = (sent) => { bar.value = sent.loaded / sent.total; };
  request.onload = () => {
    if (request.status === 201) location.assign(request.response.links.watch);
    else finish(request.response?.detail ?? "The upload failed.");
  };
  request.onerror = () => finish("The server did not answer.");
  const finish = (text) => {
    say(text);
    bar.hidden = true;
    form.querySelector("button").disabled = false;
  };
  bar.hidden = false;
  form.querySelector("button").disabled = true;
  request.open("POST", "/api/upload");
  request.send(new FormData(form));
}

find("more").addEventListener("click", load);
find("upload").addEventListener("submit", upload);
load();
