// `pipeTo` and `pipeThrough` by the Streams standard.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const q = lethe.use("stream_queue");
const r = lethe.use("readable");
const w = lethe.use("writable");

/** A `StreamPipeOptions` argument, its members read in order. */
function readOptions(options, where) {
  const { preventAbort, preventCancel, preventClose, signal } = idl.dictionary(options, where);
  if (signal !== undefined && !lethe.use("abort").isAbortSignal(signal)) {
    throw new p.TypeError(`${where}: the signal is not an AbortSignal`);
  }
  return { preventAbort: !!preventAbort, preventCancel: !!preventCancel, preventClose: !!preventClose, signal };
}

function pipeTo(source, destination, options) {
  const where = "Failed to execute 'pipeTo' on 'ReadableStream'";
  let read;
  try {
    if (!w.isWritableStream(destination)) throw new p.TypeError(`${where}: the destination is not a WritableStream`);
    read = readOptions(options, where);
    if (source.reader !== null) throw new p.TypeError(`${where}: the stream is locked`);
    if (w.stateOf(destination).writer !== null) throw new p.TypeError(`${where}: the destination is locked`);
  } catch (error) {
    return p.promiseReject(error);
  }
  return pipe(source, w.stateOf(destination), read);
}

function pipeThrough(source, transform, options) {
  const where = "Failed to execute 'pipeThrough' on 'ReadableStream'";
  if (!idl.isObject(transform)) throw new p.TypeError(`${where}: the transform is not an object`);
  const { readable } = transform;
  if (!r.isReadableStream(readable)) throw new p.TypeError(`${where}: its readable is not a ReadableStream`);
  const { writable } = transform;
  if (!w.isWritableStream(writable)) throw new p.TypeError(`${where}: its writable is not a WritableStream`);
  const read = readOptions(options, where);
  if (source.reader !== null) throw new p.TypeError(`${where}: the stream is locked`);
  if (w.stateOf(writable).writer !== null) throw new p.TypeError(`${where}: its writable is locked`);
  p.markHandled(pipe(source, w.stateOf(writable), read));
  return readable;
}

/** "ReadableStreamPipeTo". */
function pipe(source, dest, { preventAbort, preventCancel, preventClose, signal }) {
  const reader = r.acquire(source);
  const writer = w.acquire(dest);
  source.disturbed = true;
  const { promise, resolve, reject } = p.promiseWithResolvers();
  let shuttingDown = false;
  let lastWrite = p.promiseResolve();

  const finalize = (failure) => {
    w.release(writer);
    r.release(reader);
    if (signal !== undefined) lethe.use("abort").removeAlgorithm(signal, onAbort);
    if (failure === undefined) resolve();
    else reject(failure.reason);
  };

  /** Waits for what was read to be written, runs `action`, and ends with `failure` (`{ reason }`) or success. */
  const shutdown = (action, failure) => {
    if (shuttingDown) return;
    shuttingDown = true;
    const rest = () => {
      if (action === undefined) finalize(failure);
      else
        q.upon(
          action(),
          () => finalize(failure),
          (reason) => finalize({ reason }),
        );
    };
    if (dest.state === "writable" && !w.isClosing(dest)) settled(() => lastWrite, rest);
    else rest();
  };

  const onAbort = (reason) => {
    const actions = [];
    if (!preventAbort)
      actions[actions.length] = () => (dest.state === "writable" ? w.abort(dest, reason) : p.promiseResolve());
    if (!preventCancel) {
      actions[actions.length] = () => (source.state === "readable" ? r.cancel(source, reason) : p.promiseResolve());
    }
    shutdown(() => all(actions), { reason });
  };
  if (signal !== undefined) {
    const abort = lethe.use("abort");
    if (abort.isAborted(signal)) {
      onAbort(abort.reasonOf(signal));
      return promise;
    }
    abort.addAlgorithm(signal, onAbort);
  }

  // The four ways the ends influence each other, in the standard's order.
  const sourceErrored = (reason) => shutdown(preventAbort ? undefined : () => w.abort(dest, reason), { reason });
  const destErrored = (reason) => shutdown(preventCancel ? undefined : () => r.cancel(source, reason), { reason });
  const sourceClosed = () => shutdown(preventClose ? undefined : () => w.closeWithErrorPropagation(writer));
  if (source.state === "errored") sourceErrored(source.storedError);
  else q.upon(reader.closed.promise, undefined, sourceErrored);
  if (dest.state === "errored") destErrored(dest.storedError);
  else q.upon(writer.closed.promise, undefined, destErrored);
  if (source.state === "closed") sourceClosed();
  else q.upon(reader.closed.promise, sourceClosed, p.nothing);
  if (w.isClosing(dest) || dest.state === "closed") {
    const reason = new p.TypeError("The destination is closed or being closed");
    shutdown(preventCancel ? undefined : () => r.cancel(source, reason), { reason });
  }

  /** One chunk, when the writer wants one; the next step follows the read. */
  const step = () => {
    if (shuttingDown) return;
    q.upon(
      writer.ready.promise,
      () => {
        if (shuttingDown) return;
        r.read(reader, {
          // A microtask later, so that `enqueue()` never calls the sink's `write()` synchronously.
          chunk: (chunk) =>
            q.microtask(() => {
              lastWrite = p.promiseThen(w.write(writer, chunk), undefined, p.nothing);
              step();
            }),
          close: p.nothing,
          error: p.nothing,
        });
      },
      p.nothing,
    );
  };
  step();
  return promise;
}

/** Calls `then` once the promise that `latest` names has settled and is still the latest. */
function settled(latest, then) {
  const waited = latest();
  q.upon(waited, () => (latest() === waited ? then() : settled(latest, then)));
}

/** All actions started; the first rejection, or success when all have succeeded. */
function all(actions) {
  if (actions.length === 0) return p.promiseResolve();
  const { promise, resolve, reject } = p.promiseWithResolvers();
  let open = actions.length;
  const done = () => {
    if (--open === 0) resolve();
  };
  for (let i = 0; i < actions.length; i++) q.upon(actions[i](), done, reject);
  return promise;
}

return { pipeTo, pipeThrough, pipe };
