// `tee` of byte streams: each chunk goes to both branches, one of them gets a copy; a branch's BYOB read goes straight
// into its memory.
"use strict";

const p = lethe.use("primordials");
const q = lethe.use("stream_queue");
const r = lethe.use("readable");
const b = lethe.use("readable_bytes");
const byob = lethe.use("readable_byob");
const { cancelTogether } = lethe.use("readable_tee");

function tee(stream) {
  const shared = cancelTogether(stream);
  const { canceled } = shared;
  const branches = [];
  const again = [false, false];
  let reader = r.acquire(stream);
  let reading = false;
  const controllers = () => [branches[0].controller, branches[1].controller];

  const watch = (watched) =>
    q.upon(watched.closed.promise, undefined, (reason) => {
      if (watched !== reader) return;
      const both = controllers();
      b.error(both[0], reason);
      b.error(both[1], reason);
      if (!canceled[0] || !canceled[1]) shared.resolve();
    });

  const use = (wantsByob) => {
    if (reader.byob === wantsByob) return;
    r.release(reader);
    reader = wantsByob ? byob.acquire(stream) : r.acquire(stream);
    watch(reader);
  };

  const done = () => {
    reading = false;
    if (again[0]) pull(0);
    else if (again[1]) pull(1);
  };

  /** A copy of a chunk for the second taker; undefined after a failure, which ended both branches. */
  const copy = (chunk) => {
    try {
      return p.typedArraySlice(chunk);
    } catch (reason) {
      const both = controllers();
      b.error(both[0], reason);
      b.error(both[1], reason);
      shared.resolve(r.cancel(stream, reason));
      return undefined;
    }
  };

  const failed = () => {
    reading = false;
  };

  const pullDefault = () => {
    use(false);
    r.read(reader, {
      chunk: (chunk) =>
        q.microtask(() => {
          again[0] = again[1] = false;
          let second = chunk;
          if (!canceled[0] && !canceled[1] && (second = copy(chunk)) === undefined) return;
          const both = controllers();
          if (!canceled[0]) b.enqueue(both[0], chunk);
          if (!canceled[1]) b.enqueue(both[1], second);
          done();
        }),
      close: () => {
        reading = false;
        const both = controllers();
        for (let i = 0; i < 2; i++) if (!canceled[i]) b.close(both[i]);
        for (let i = 0; i < 2; i++) if (both[i].pendings.length > 0) b.respond(both[i], 0);
        if (!canceled[0] || !canceled[1]) shared.resolve();
      },
      error: failed,
    });
  };

  const pullByob = (view, branch) => {
    use(true);
    byob.read(reader, view, 1, {
      chunk: (chunk) =>
        q.microtask(() => {
          again[0] = again[1] = false;
          const both = controllers();
          const other = 1 - branch;
          if (!canceled[other]) {
            const second = copy(chunk);
            if (second === undefined) return;
            if (!canceled[branch]) b.respondWithNewView(both[branch], chunk);
            b.enqueue(both[other], second);
          } else if (!canceled[branch]) {
            b.respondWithNewView(both[branch], chunk);
          }
          done();
        }),
      close: (chunk) => {
        reading = false;
        const both = controllers();
        const other = 1 - branch;
        if (!canceled[branch]) b.close(both[branch]);
        if (!canceled[other]) b.close(both[other]);
        if (chunk !== undefined) {
          if (!canceled[branch]) b.respondWithNewView(both[branch], chunk);
          if (!canceled[other] && both[other].pendings.length > 0) b.respond(both[other], 0);
        }
        if (!canceled[0] || !canceled[1]) shared.resolve();
      },
      error: failed,
    });
  };

  const pull = (branch) => {
    if (reading) {
      again[branch] = true;
      return p.promiseResolve();
    }
    reading = true;
    const request = b.requestOf(branches[branch].controller);
    if (request === null) pullDefault();
    else pullByob(b.viewOf(request), branch);
    return p.promiseResolve();
  };

  branches[0] = b.create({ start: undefined, pull: () => pull(0), cancel: (reason) => shared.cancel(0, reason) });
  branches[1] = b.create({ start: undefined, pull: () => pull(1), cancel: (reason) => shared.cancel(1, reason) });
  watch(reader);
  return branches;
}

return { tee };
