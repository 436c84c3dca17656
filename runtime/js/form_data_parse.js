// `formData()` of a Request or Response: a body of one of the two form types as FormData.
"use strict";

const p = lethe.use("primordials");
const mime = lethe.use("mime");
const blobs = lethe.use("blob");
const { fromEntries } = lethe.use("form_data");
const { ops } = lethe;

function parse(bytes, contentType) {
  const type = mime.extract(contentType);
  if (type?.essence === "multipart/form-data") {
    const boundary = mime.parameter(type.parameters, "boundary");
    const parts = boundary === null ? undefined : ops.multipartParse(bytes, boundary);
    if (parts === undefined) throw new p.TypeError("The body is not valid multipart/form-data");
    return fromEntries(entriesOf(parts));
  }
  if (type?.essence === "application/x-www-form-urlencoded") {
    const flat = ops.formParse(ops.decode("utf-8", bytes, false, true));
    const entries = [];
    for (let i = 0; i < flat.length; i += 2) entries[i >> 1] = [flat[i], flat[i + 1]];
    return fromEntries(entries);
  }
  throw new p.TypeError("The Content-Type is neither multipart/form-data nor application/x-www-form-urlencoded");
}

/** Natives give four values per part: name, file name or undefined, content type or undefined, bytes. */
function entriesOf(parts) {
  const entries = [];
  for (let i = 0; i < parts.length; i += 4) {
    const filename = parts[i + 1];
    const type = parts[i + 2];
    const content = parts[i + 3];
    const value =
      filename === undefined
        ? ops.utf8Decode(content)
        : blobs.asFile(blobs.fromBytes(content, type === undefined ? "text/plain" : type), filename);
    entries[entries.length] = [parts[i], value];
  }
  return entries;
}

return { parse };
