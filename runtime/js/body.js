// Bodies of requests and responses. Internally a body is one object:
//
// ```text
// { source, rid, stream, root, used, failure }
//   source   string | Uint8Array | Blob | null    bytes we hold; they can be sent again
//   rid      number | null                        native stream: chunks come from `ops.bodyRead`
//   stream   ReadableStream | null                made by the worker, or by us when `.body` was first read
//   root     ReadableStream | null                the one we made; `stream` may have become a branch of it
//   used     true once somebody took the bytes while no stream existed
//   failure  null | { failed, reason, ended }     of a native stream: whether it was cut (an aborted fetch), and what to
//                                                 call at its end; shared by all bodies that the content moves through
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
  const failure = rid === null ? null : { failed: false, reason: undefined, ended: p.nothing };
  return { source, rid, stream, root: null, used: false, failure };
}

/** "Extract a body": `[body, content type or null]` of a `BodyInit`. */
function extract(init, where) {
  if (idl.isObject(init)) {
    const bytes = idl.fixedBytesOf(init, where);
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
    body.stream = body.root = body.used ? spent() : fromOrigin(body);
  }
  return body.stream;
}

/** A second body with the same content; the first goes on with its own copy of a stream. */
function clone(body) {
  if (body.stream === null && body.source !== null) return make(body.source, null, null);
  const { 0: mine, 1: other } = lethe.use("readable_origin").teeForClone(streamOf(body));
  body.stream = mine;
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
  if (origin !== null) return { ...origin, stream: null, root: null, used: false };
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
  body.failure.failed = true;
  body.failure.reason = reason;
  if (body.root !== null) evaluated.readable.errorOrigin(body.root, reason);
  ops.bodyCancel(body.rid);
}

/** Reads a native body to its end. */
async function readNative({ rid, failure }) {
  const chunks = [];
  for (;;) {
    let chunk;
    try {
      chunk = await ops.bodyRead(rid);
    } catch (error) {
      failure.ended();
      throw failure.failed ? failure.reason : error;
    }
    if (failure.failed) throw failure.reason;
    if (chunk === undefined) break;
    chunks[chunks.length] = chunk;
  }
  failure.ended();
  // Not the chunks themselves: a promise looks for `then` on objects, where a worker may have put one.
  return () => concat(chunks);
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

/**
 * All of a body, as a promise of `convert(content)`; the content is a string or bytes that `convert` must not change.
 * What is known to fail is rejected at once.
 */
function consume(body, where, convert) {
  const { promise, resolve, reject } = p.promiseWithResolvers();
  const done = (content) => {
    try {
      resolve(convert(content));
    } catch (error) {
      reject(error);
    }
  };
  const doneLater = (content) => done(content());
  try {
    if (body === null) {
      done("");
    } else if (body.failure?.failed) {
      reject(body.failure.reason);
    } else {
      const content = take(body, where);
      if (typeof content === "string" || p.isView(content)) done(content);
      else if (isStream(content)) evaluated.readable.readAllBytes(content, (chunks) => done(concat(chunks)), reject);
      else p.promiseThen(readNative(content), doneLater, reject);
    }
  } catch (error) {
    reject(error);
  }
  return promise;
}

function isStream(content) {
  return evaluated.readable?.isReadableStream(content) === true;
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
  const read = (self, method, convert) => {
    let body;
    try {
      body = bodyOf(self);
    } catch (error) {
      return p.promiseReject(error);
    }
    return consume(body, `Failed to execute '${method}' on '${name}'`, convert);
  };
  idl.mixin(Class, {
    get body() {
      const body = bodyOf(this);
      return body === null ? null : streamOf(body);
    },
    get bodyUsed() {
      const body = bodyOf(this);
      return body !== null && isDisturbed(body);
    },
    arrayBuffer() {
      return read(this, "arrayBuffer", (content) => p.typedArrayBuffer(asBytes(content)));
    },
    blob() {
      return read(this, "blob", (content) => {
        const type = lethe.use("mime").normalized(typeOf(this));
        return lethe.use("blob").fromBytes(asBytes(content), type);
      });
    },
    bytes() {
      return read(this, "bytes", asBytes);
    },
    formData() {
      return read(this, "formData", (content) => lethe.use("form_data_parse").parse(asBytes(content), typeOf(this)));
    },
    json() {
      return read(this, "json", (content) => p.jsonParse(asText(content)));
    },
    text() {
      return read(this, "text", asText);
    },
  });
}

return { make, extract, isUnusable, isStream, assertUsable, clone, move, outgoing, fail, mixin };
