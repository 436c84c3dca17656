// `fetch` of a data: URL, by the Fetch standard's "data: URL processor".
"use strict";

const p = lethe.use("primordials");
const mime = lethe.use("mime");
const bodies = lethe.use("body");
const { fromNetwork } = lethe.use("response");
const { ops } = lethe;

const DATA = /^data:([^,]*),([^]*)$/;
const BASE64 = /^([^]*?); *base64$/i;

/** The Response of a data: URL without its fragment. */
function load(url, method) {
  const match = p.regExpExec(DATA, url);
  if (match === null) throw new p.TypeError("fetch failed: the data: URL has no comma");
  let type = trimmedSpaces(match[1]);
  let bytes = ops.percentDecode(match[2]);
  const marked = p.regExpExec(BASE64, type);
  if (marked !== null) {
    type = marked[1];
    bytes = ops.base64Forgiving(bytes);
    if (bytes === undefined) throw new p.TypeError("fetch failed: the data: URL is not valid base64");
  }
  if (p.stringStartsWith(type, ";")) type = `text/plain${type}`;
  const parsed = mime.parse(type);
  const contentType = parsed === null ? "text/plain;charset=US-ASCII" : mime.serialize(parsed);
  const head = { status: 200, statusText: "OK", headers: [["content-type", contentType]] };
  return fromNetwork(head, url, false, method === "HEAD" ? null : bodies.make(bytes, null, null));
}

function trimmedSpaces(text) {
  let start = 0;
  let end = text.length;
  while (start < end && text[start] === " ") start++;
  while (end > start && text[end - 1] === " ") end--;
  return p.stringSlice(text, start, end);
}

return { load };
