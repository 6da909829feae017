// Reading HLS playlists (RFC 8216), as far as ours go.

// What the URL leads to was taken back: the job failed, was cancelled or begins again.
export class GoneError extends Error {}

export async function get(url, options) {
  const answer = await fetch(url, options);
  if (answer.status === 410) throw new GoneError();
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return answer;
}

const attribute = (line, name) => line.match(new RegExp(`[:,]${name}="([^"]*)"`))?.[1];

export async function readMaster(url) {
  const lines = (await (await get(url)).text()).split("\n");
  const full = (path) => new URL(path, new URL(url, location)).href;
  const sound = lines.find((line) => line.startsWith("#EXT-X-MEDIA:TYPE=AUDIO"));
  const variants = lines.flatMap((line, at) => {
    if (!line.startsWith("#EXT-X-STREAM-INF:")) return [];
    const codecs = attribute(line, "CODECS").split(",");
    return [{ name: lines[at + 1].match(/(\w+)\.m3u8$/)[1], url: full(lines[at + 1]), codecs }];
  });
  return { variants, sound: sound ? full(attribute(sound, "URI")) : null };
}

export async function readList(url) {
  const list = { target_s: 0, init: null, segments: [], ended: false };
  let [start, length_s, range] = [0, 0, null];
  // It may have grown within the second that it can be kept.
  for (const line of (await (await get(url, { cache: "no-cache" })).text()).split("\n")) {
    const value = line.slice(line.indexOf(":") + 1);
    if (line.startsWith("#EXT-X-TARGETDURATION:")) list.target_s = Number(value);
    else if (line.startsWith("#EXT-X-MAP:")) list.init = new URL(attribute(line, "URI"), url).href;
    else if (line.startsWith("#EXTINF:")) length_s = parseFloat(value);
    else if (line.startsWith("#EXT-X-BYTERANGE:")) range = value.split("@").map(Number);
    else if (line === "#EXT-X-ENDLIST") list.ended = true;
    else if (line && !line.startsWith("#")) {
      list.segments.push({ url: new URL(line, url).href, range, start, end: start + length_s });
      start += length_s;
    }
  }
  return list;
}
