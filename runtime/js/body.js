// Bodies of requests and responses. Internally a body is one object:
//
// ```text
// { source, rid, stream, used, failure }
//   source   string | Uint8Array | Blob | null    bytes we hold; they can be sent again
//   rid      number | null                        native stream: chunks come from `ops.bodyRead`
//   stream   ReadableStream | null                made by the worker, or by us when `.body` was first read
//   used     true once somebody took the bytes while no stream existed
//   failure  null | { reason }                    why a native stream was cut (an aborted fetch)
// ```
//
// A string or byte body never becomes a stream unless `.body` is read, and a native body that nobody read goes back
// out natively: `takeOrigin` gives back what an untouched stream was made from.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const evaluated = lethe.use("evaluated");
const { ops } = lethe;

function make(source, rid, stream) {
  return { source, rid, stream, used: false, failure: null };
}

/** "Extract a body": `[body, content type or null]` of a `BodyInit`. */
function extract(init, where) {
  if (idl.isObject(init)) {
    const bytes = idl.bytesOf(init);
    if (bytes !== undefined) return [make(p.typedArraySlice(bytes), null, null), null];
    const platform = extractPlatformObject(init, where);
    if (platform !== undefined) return platform;
  }
  return [make(idl.usvString(init), null, null), "text/plain;charset=UTF-8"];
}

function extractPlatformObject(init, where) {
  const { readable, url_search_params: params, blob: blobs, form_data: forms } = evaluated;
  if (readable?.isReadableStream(init)) {
    if (readable.isDisturbed(init) || readable.isLocked(init)) {
      throw new p.TypeError(`${where}: the ReadableStream is locked or was already read`);
    }
    return [make(null, null, init), null];
  }
  if (params?.isURLSearchParams(init)) {
    return [make(params.serialize(init), null, null), "application/x-www-form-urlencoded;charset=UTF-8"];
  }
  if (forms?.isFormData(init)) {
    const { blob, type } = forms.encode(init);
    return [make(blob, null, null), type];
  }
  if (blobs?.isBlob(init)) return [make(init, null, null), blobs.typeOf(init) || null];
  return undefined;
}

function isDisturbed(body) {
  return body.stream === null ? body.used : evaluated.readable.isDisturbed(body.stream);
}

function isUnusable(body) {
  if (body.stream === null) return body.used;
  return evaluated.readable.isDisturbed(body.stream) || evaluated.readable.isLocked(body.stream);
}

function assertUsable(body, where) {
  if (!isUnusable(body)) return;
  throw new p.TypeError(`${where}: the body was already used or its stream is locked; clone() before reading it twice`);
}

/** The ReadableStream of `.body`, made on first use. */
function streamOf(body) {
  if (body.stream === null) {
    const { fromOrigin, spent } = lethe.use("readable_origin");
    body.stream = body.used ? spent() : fromOrigin(body);
  }
  return body.stream;
}

/** A second body with the same content; the first goes on with its own copy of a stream. */
function clone(body) {
  if (body.stream === null && body.source !== null) return make(body.source, null, null);
  const [mine, other] = lethe.use("readable_origin").teeForClone(streamOf(body));
  body.stream = mine;
  body.rid = null;
  return make(body.source, null, other);
}

/** Moves the content out of `body`, which is used from now on. */
function move(body, where) {
  assertUsable(body, where);
  if (body.stream === null) {
    body.used = true;
    return { ...body, used: false };
  }
  const origin = evaluated.readable.takeOrigin(body.stream);
  if (origin !== null) return { ...origin, stream: null, used: false };
  return make(body.source, null, lethe.use("readable_origin").proxy(body.stream));
}

/** Takes the content: a string, a Uint8Array (possibly shared with clones), `{ rid }`, or a ReadableStream. */
function take(body, where) {
  const moved = move(body, where);
  if (moved.stream !== null) return moved.stream;
  if (moved.source === null) return moved;
  return evaluated.blob?.isBlob(moved.source) ? evaluated.blob.bytesOf(moved.source) : moved.source;
}

/** Like `take`, in the form natives want: Uint8Array, `{ rid }` or a ReadableStream. */
function outgoing(body, where) {
  const content = take(body, where);
  return typeof content === "string" ? ops.utf8Encode(content) : content;
}

/** Cuts a body whose bytes come from the network: readers see `reason`. */
function fail(body, reason) {
  body.failure = { reason };
  if (body.stream !== null) evaluated.readable.errorOrigin(body.stream, reason);
  if (body.rid !== null) ops.bodyCancel(body.rid);
}

async function readNative(body) {
  const chunks = [];
  for (;;) {
    let chunk;
    try {
      chunk = await ops.bodyRead(body.rid);
    } catch (error) {
      throw body.failure === null ? error : body.failure.reason;
    }
    if (body.failure !== null) throw body.failure.reason;
    if (chunk === undefined) return concat(chunks);
    chunks[chunks.length] = chunk;
  }
}

function concat(chunks) {
  if (chunks.length === 1) return chunks[0];
  let total = 0;
  for (let i = 0; i < chunks.length; i++) total += p.typedArrayByteLength(chunks[i]);
  const bytes = new p.Uint8Array(total);
  for (let i = 0, at = 0; i < chunks.length; i++) {
    p.typedArraySet(bytes, chunks[i], at);
    at += p.typedArrayByteLength(chunks[i]);
  }
  return bytes;
}

/** All of a body as a string (of a string body) or bytes that the caller must not change. */
async function consume(body, where) {
  if (body === null) return "";
  // The failure of an abort is recorded on the body itself, so a native body is read in place.
  if (body.stream === null && body.rid !== null) {
    assertUsable(body, where);
    body.used = true;
    return readNative(body);
  }
  const content = take(body, where);
  if (typeof content === "string" || p.isView(content)) return content;
  if (evaluated.readable?.isReadableStream(content)) return concat(await evaluated.readable.readAllBytes(content));
  return readNative(content);
}

function asText(content) {
  if (typeof content !== "string") return ops.utf8Decode(content);
  return p.charCodeAt(content, 0) === 0xfeff ? p.stringSlice(content, 1) : content;
}

function asBytes(content) {
  return typeof content === "string" ? ops.utf8Encode(content) : p.typedArraySlice(content);
}

/**
 * Gives a class the members of the Body mixin. `bodyOf(self)` is its body or null and throws a TypeError for a foreign
 * `self`; `typeOf(self)` is its Content-Type header or null.
 */
function mixin(Class, name, bodyOf, typeOf) {
  const read = (self, method) => consume(bodyOf(self), `Failed to execute '${method}' on '${name}'`);
  idl.mixin(Class, {
    get body() {
      const body = bodyOf(this);
      return body === null ? null : streamOf(body);
    },
    get bodyUsed() {
      const body = bodyOf(this);
      return body !== null && isDisturbed(body);
    },
    async arrayBuffer() {
      return p.typedArrayBuffer(asBytes(await read(this, "arrayBuffer")));
    },
    async blob() {
      const bytes = asBytes(await read(this, "blob"));
      return lethe.use("blob").fromBytes(bytes, lethe.use("mime").normalized(typeOf(this)));
    },
    async bytes() {
      return asBytes(await read(this, "bytes"));
    },
    async formData() {
      const content = await read(this, "formData");
      return lethe.use("form_data_parse").parse(asBytes(content), typeOf(this));
    },
    async json() {
      return p.jsonParse(asText(await read(this, "json")));
    },
    async text() {
      return asText(await read(this, "text"));
    },
  });
}

return { make, extract, isUnusable, assertUsable, clone, move, outgoing, fail, mixin };
