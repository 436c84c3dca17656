// `tee`: two branches of one stream, for default streams and for byte streams.
"use strict";

const p = lethe.use("primordials");
const q = lethe.use("stream_queue");
const r = lethe.use("readable");

/** Both branches as stream states. */
function tee(stream, forClone = false) {
  // Only byte controllers have this field; asking their builtin would evaluate it for every stream.
  return stream.controller.byobRequest !== undefined
    ? lethe.use("readable_tee_bytes").tee(stream)
    : teeDefault(stream, forClone);
}

function teeDefault(stream, forClone) {
  const reader = r.acquire(stream);
  const shared = cancelTogether(stream);
  const branches = [];
  let reading = false;
  let again = false;
  const each = (action) => {
    for (let i = 0; i < 2; i++) if (!shared.canceled[i]) action(branches[i].controller, i);
  };
  const request = {
    // A microtask later, so that a branch is not written to while its source still reports an error.
    chunk: (chunk) =>
      q.microtask(() => {
        again = false;
        let second = chunk;
        if (forClone && !shared.canceled[1]) {
          try {
            second = lethe.use("clone").structuredClone(chunk);
          } catch (reason) {
            each((controller) => controller.steps.error(controller, reason));
            shared.resolve(r.cancel(stream, reason));
            return;
          }
        }
        each((controller, i) => controller.steps.enqueue(controller, i === 0 ? chunk : second));
        reading = false;
        if (again) pull();
      }),
    close: () => {
      reading = false;
      each((controller) => controller.steps.close(controller));
      if (!shared.canceled[0] || !shared.canceled[1]) shared.resolve();
    },
    error: () => {
      reading = false;
    },
  };
  const pull = () => {
    if (reading) {
      again = true;
    } else {
      reading = true;
      r.read(reader, request);
    }
    return p.promiseResolve();
  };
  branches[0] = r.create({ start: undefined, pull, cancel: (reason) => shared.cancel(0, reason) });
  branches[1] = r.create({ start: undefined, pull, cancel: (reason) => shared.cancel(1, reason) });
  q.upon(reader.closed.promise, undefined, (reason) => {
    for (let i = 0; i < 2; i++) branches[i].controller.steps.error(branches[i].controller, reason);
    if (!shared.canceled[0] || !shared.canceled[1]) shared.resolve();
  });
  return branches;
}

/** The branches' cancellation: the source is canceled when both are, with both reasons. */
function cancelTogether(stream) {
  const { promise, resolve } = p.promiseWithResolvers();
  const reasons = [undefined, undefined];
  const canceled = [false, false];
  return {
    canceled,
    resolve,
    cancel(branch, reason) {
      canceled[branch] = true;
      reasons[branch] = reason;
      if (canceled[1 - branch]) resolve(r.cancel(stream, [reasons[0], reasons[1]]));
      return promise;
    },
  };
}

return { tee, cancelTogether };
