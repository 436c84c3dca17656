// Sends a ReadableStream out through a native body: reads a chunk, writes it, waits until it was taken.
"use strict";

const p = lethe.use("primordials");
const r = lethe.use("readable");
const { ops } = lethe;

/**
 * Opens a native body, feeds it from `object` and returns its resource id at once. If the stream fails, the body fails
 * and `failed(reason)` is called; if the taker goes away, the stream is canceled with `unwanted(error)`.
 */
function pump(object, { failed, unwanted }) {
  const rid = ops.bodyOpen();
  const stream = r.stateOf(object);
  const reader = r.acquire(stream);
  p.markHandled(run(rid, stream, reader, failed, unwanted));
  return rid;
}

async function run(rid, stream, reader, failed, unwanted) {
  for (;;) {
    let step;
    try {
      step = await r.readPromise(reader);
      if (!step.done && p.typedArrayTag(step.value) !== "Uint8Array") {
        const reason = new p.TypeError("A body's stream must give Uint8Array chunks");
        p.markHandled(r.cancel(stream, reason));
        throw reason;
      }
    } catch (reason) {
      ops.bodyFail(rid, messageOf(reason));
      failed(reason);
      return;
    }
    if (step.done) {
      ops.bodyEnd(rid);
      return;
    }
    try {
      await ops.bodyWrite(rid, step.value);
    } catch (error) {
      p.markHandled(r.cancel(stream, unwanted(error)));
      return;
    }
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
