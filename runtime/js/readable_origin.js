// Streams that are the `.body` of a message. Such a stream remembers the body it was made from (its origin), so that an
// untouched one can be taken back: `new Response(upstream.body)` hands the native stream on without reading it.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const q = lethe.use("stream_queue");
const r = lethe.use("readable");
const b = lethe.use("readable_bytes");
const { ops } = lethe;

/** The stream of a body whose content nobody has taken. */
function fromOrigin(body) {
  const { source, rid, failure } = body;
  const stream = b.create({
    start: undefined,
    pull: source === null ? () => pullNative(stream, rid, failure) : () => pullSource(stream, source),
    cancel: () => {
      if (rid !== null) {
        ops.bodyCancel(rid);
        failure.ended();
      }
      return p.promiseResolve();
    },
  });
  stream.origin = { source, rid, failure, used: false };
  if (failure?.failed) b.error(stream.controller, failure.reason);
  return r.wrap(stream);
}

async function pullNative(stream, rid, failure) {
  stream.origin = null;
  let chunk;
  try {
    chunk = await ops.bodyRead(rid);
  } catch (error) {
    failure.ended();
    throw failure.failed ? failure.reason : error;
  }
  if (chunk === undefined) failure.ended();
  finishPull(stream.controller, chunk, chunk === undefined);
}

async function pullSource(stream, source) {
  stream.origin = null;
  const blobs = lethe.use("evaluated").blob;
  let bytes = blobs?.isBlob(source) ? blobs.bytesOf(source) : source;
  bytes = typeof bytes === "string" ? ops.utf8Encode(bytes) : p.typedArraySlice(bytes);
  finishPull(stream.controller, bytes, true);
}

/** Enqueues a chunk; `last` closes the stream and answers a read that waits with memory of its own. */
function finishPull(controller, chunk, last) {
  if (controller.stream.state !== "readable") return;
  if (chunk !== undefined && p.typedArrayByteLength(chunk) > 0) b.enqueue(controller, chunk);
  if (!last) return;
  b.close(controller);
  if (controller.pendings.length > 0) b.respond(controller, 0);
}

/** The stream of a body that was consumed without one: closed, disturbed and locked. */
function spent() {
  const stream = b.create({ start: undefined, pull: undefined, cancel: undefined });
  stream.disturbed = true;
  b.close(stream.controller);
  r.acquire(stream);
  return r.wrap(stream);
}

/** Takes the content back from an untouched stream, which then looks consumed; null if it was touched. */
function takeOrigin(stream) {
  const { origin } = stream;
  if (origin === null || stream.disturbed || stream.reader !== null || stream.state !== "readable") return null;
  stream.origin = null;
  stream.disturbed = true;
  b.close(stream.controller);
  r.acquire(stream);
  return origin;
}

/** Ends a stream whose native source was cut. */
function errorOrigin(stream, reason) {
  stream.controller.steps.error(stream.controller, reason);
}

/** Both branches of a body's stream for `clone()`, as public objects. */
function teeForClone(object) {
  const branches = lethe.use("readable_tee").tee(r.stateOf(object), true);
  return [r.wrap(branches[0]), r.wrap(branches[1])];
}

/** A stream with the content of `object`, which is locked and disturbed from now on. */
function proxy(object) {
  const source = r.stateOf(object);
  const { readable, writable } = lethe.use("transform").createPair((chunk, put) => put(chunk), undefined);
  const w = lethe.use("writable");
  const options = { preventAbort: false, preventCancel: false, preventClose: false, signal: undefined };
  p.markHandled(lethe.use("readable_pipe").pipe(source, w.stateOf(writable), options));
  return readable;
}

/** Calls `done(chunks)` with all chunks of a stream, each a Uint8Array, or `failed(reason)`. */
function readAllBytes(stream, done, failed) {
  const reader = r.acquire(stream);
  const chunks = [];
  const request = {
    chunk: (chunk) => {
      if (p.typedArrayTag(chunk) !== "Uint8Array") {
        const reason = new p.TypeError("A body's stream must give Uint8Array chunks");
        p.markHandled(r.cancel(stream, reason));
        failed(reason);
        return;
      }
      chunks[chunks.length] = chunk;
      // A microtask later: a stream that answers at once must not make this recursive.
      q.microtask(() => r.read(reader, request));
    },
    close: () => done(chunks),
    error: failed,
  };
  r.read(reader, request);
}

return { fromOrigin, spent, takeOrigin, errorOrigin, teeForClone, proxy, readAllBytes };
