// Sends a ReadableStream out through a native body: reads a chunk, writes it, waits until it was taken.
"use strict";

const p = lethe.use("primordials");
const r = lethe.use("readable");
const { ops } = lethe;

/**
 * Opens a native body, feeds it from `object` and returns its resource id at once. If the stream fails, the body fails
 * and `failed(reason)` is called; if the taker goes away, the stream is canceled with `unwanted(error)`. However it ends,
 * `ended()` is called last.
 */
function pump(object, { failed, unwanted, ended }) {
  const stream = r.stateOf(object);
  const reader = r.acquire(stream);
  const rid = ops.bodyOpen();
  p.markHandled(runToEnd(rid, stream, reader, failed, unwanted, ended));
  return rid;
}

async function runToEnd(rid, stream, reader, failed, unwanted, ended) {
  try {
    await run(rid, stream, reader, failed, unwanted);
  } finally {
    ended();
  }
}

async function run(rid, stream, reader, failed, unwanted) {
  for (;;) {
    let step;
    try {
      step = await r.readPromise(reader);
      if (!step.done && p.typedArrayTag(step.value) !== "Uint8Array") {
        throw new p.TypeError("A body's stream must give Uint8Array chunks");
      }
    } catch (reason) {
      ops.bodyFail(rid, messageOf(reason));
      failed(reason);
      await discard(stream, reason);
      return;
    }
    if (step.done) {
      ops.bodyEnd(rid);
      return;
    }
    try {
      await ops.bodyWrite(rid, step.value);
    } catch (error) {
      await discard(stream, unwanted(error));
      return;
    }
  }
}

async function discard(stream, reason) {
  try {
    await r.cancel(stream, reason);
  } catch {
    // The stream is gone either way; its own error handler has seen why.
  }
}

function messageOf(reason) {
  try {
    return `${reason}`;
  } catch {
    return "the stream failed";
  }
}

return { pump };
