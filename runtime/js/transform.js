// TransformStream by the Streams standard.
//
//   stream      { readable, writable, backpressure, change, controller }   `change` is the backpressure-change promise
//   controller  { stream, transform, flush, cancel, finish }              `finish` is the promise of its one ending
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const q = lethe.use("stream_queue");
const r = lethe.use("readable");
const w = lethe.use("writable");

const INTERNAL = p.freeze({ __proto__: null });

class TransformStream {
  #readable;
  #writable;
  constructor(transformer = undefined, writableStrategy = undefined, readableStrategy = undefined) {
    const where = "Failed to construct 'TransformStream'";
    if (transformer !== undefined && !idl.isObject(transformer)) {
      throw new p.TypeError(`${where}: the transformer is not an object`);
    }
    const writableRead = q.strategy(writableStrategy, where);
    const readableRead = q.strategy(readableStrategy, where);
    const methods = readTransformer(transformer ?? p.create(null), where);
    const readableMark = q.highWaterMark(readableRead, 0);
    const readableSize = q.sizeAlgorithm(readableRead);
    const writableMark = q.highWaterMark(writableRead, 1);
    const writableSize = q.sizeAlgorithm(writableRead);
    const start = p.promiseWithResolvers();
    const controller = makeController();
    controller.object = new TransformStreamDefaultController(INTERNAL, controller);
    const { object } = controller;
    const stream = initialize(controller, start.promise, {
      writable: [writableMark, writableSize],
      readable: [readableMark, readableSize],
      transform: methods.transform && ((chunk) => q.invoke(methods.transform, transformer, [chunk, object])),
      flush: () => q.invoke(methods.flush, transformer, [object]),
      cancel: (reason) => q.invoke(methods.cancel, transformer, [reason]),
    });
    this.#readable = r.wrap(stream.readable);
    this.#writable = w.wrap(stream.writable);
    start.resolve(methods.start === undefined ? undefined : p.apply(methods.start, transformer, [object]));
  }
  get readable() {
    return this.#readable;
  }
  get writable() {
    return this.#writable;
  }
}
idl.iface(TransformStream, "TransformStream");

function readTransformer(transformer, where) {
  const cancel = q.method(transformer, "cancel", where);
  const flush = q.method(transformer, "flush", where);
  const { readableType } = transformer;
  const start = q.method(transformer, "start", where);
  const transform = q.method(transformer, "transform", where);
  const { writableType } = transformer;
  if (readableType !== undefined) throw new p.RangeError(`${where}: readableType is not supported`);
  if (writableType !== undefined) throw new p.RangeError(`${where}: writableType is not supported`);
  return { cancel, flush, start, transform };
}

function makeController() {
  return { stream: null, transform: undefined, flush: undefined, cancel: undefined, finish: null, object: null };
}

function initialize(controller, started, options) {
  const stream = { readable: null, writable: null, backpressure: undefined, change: null, controller };
  controller.stream = stream;
  controller.transform = options.transform ?? ((chunk) => q.invoke(enqueue, undefined, [controller, chunk]));
  controller.flush = options.flush;
  controller.cancel = options.cancel;
  stream.writable = w.create(
    {
      start: () => started,
      write: (chunk) => sinkWrite(stream, chunk),
      abort: (reason) => sinkAbort(stream, reason),
      close: () => sinkClose(stream),
    },
    options.writable[0],
    options.writable[1],
  );
  stream.readable = r.create(
    {
      start: () => started,
      pull: () => {
        setBackpressure(stream, false);
        return stream.change.promise;
      },
      cancel: (reason) => sourceCancel(stream, reason),
    },
    options.readable[0],
    options.readable[1],
  );
  setBackpressure(stream, true);
  return stream;
}

/**
 * A pair of our own making: `transform(chunk, enqueue)` and `flush(enqueue)` are plain functions that may throw.
 * Returns public objects.
 */
function createPair(transform, flush) {
  const controller = makeController();
  const put = (chunk) => enqueue(controller, chunk);
  const stream = initialize(controller, p.promiseResolve(), {
    writable: [1, q.one],
    readable: [0, q.one],
    transform: (chunk) => q.invoke(transform, undefined, [chunk, put]),
    flush: () => q.invoke(flush, undefined, [put]),
    cancel: () => p.promiseResolve(),
  });
  return { readable: r.wrap(stream.readable), writable: w.wrap(stream.writable) };
}

function setBackpressure(stream, backpressure) {
  if (stream.change !== null) stream.change.resolve();
  stream.change = p.promiseWithResolvers();
  stream.backpressure = backpressure;
}

function clearAlgorithms(controller) {
  controller.transform = undefined;
  controller.flush = undefined;
  controller.cancel = undefined;
}

function errorReadable({ readable }, reason) {
  readable.controller.steps.error(readable.controller, reason);
}

function errorWritable(stream, reason) {
  clearAlgorithms(stream.controller);
  w.errorIfNeeded(stream.writable.controller, reason);
  if (stream.backpressure) setBackpressure(stream, false);
}

function error(stream, reason) {
  errorReadable(stream, reason);
  errorWritable(stream, reason);
}

function canEnqueue(readable) {
  return !readable.controller.closeRequested && readable.state === "readable";
}

function enqueue(controller, chunk) {
  const { stream } = controller;
  const { readable } = stream;
  if (!canEnqueue(readable)) throw new p.TypeError("The readable side is closed or errored");
  try {
    readable.controller.steps.enqueue(readable.controller, chunk);
  } catch (reason) {
    errorWritable(stream, reason);
    throw readable.storedError;
  }
  const backpressure = !readable.controller.steps.shouldPull(readable.controller);
  if (backpressure !== stream.backpressure) setBackpressure(stream, true);
}

function performTransform(controller, chunk) {
  if (controller.transform === undefined) return p.promiseResolve();
  return p.promiseThen(controller.transform(chunk), undefined, (reason) => {
    error(controller.stream, reason);
    throw reason;
  });
}

function sinkWrite(stream, chunk) {
  if (!stream.backpressure) return performTransform(stream.controller, chunk);
  return p.promiseThen(stream.change.promise, () => {
    if (stream.writable.state === "erroring") throw stream.writable.storedError;
    return performTransform(stream.controller, chunk);
  });
}

/** Runs the one ending of a transformer: `algorithm`, then `succeeded` (which may throw) or `failed`. */
function finish(controller, algorithm, succeeded, failed) {
  if (controller.finish !== null) return controller.finish.promise;
  controller.finish = p.promiseWithResolvers();
  const { promise, resolve, reject } = controller.finish;
  const done = algorithm === undefined ? p.promiseResolve() : algorithm();
  clearAlgorithms(controller);
  q.upon(
    done,
    () => {
      try {
        succeeded();
      } catch (reason) {
        reject(reason);
        return;
      }
      resolve();
    },
    (reason) => {
      failed(reason);
      reject(reason);
    },
  );
  return promise;
}

function sinkAbort(stream, reason) {
  const { controller, readable } = stream;
  const { cancel } = controller;
  return finish(
    controller,
    () => (cancel === undefined ? p.promiseResolve() : cancel(reason)),
    () => {
      if (readable.state === "errored") throw readable.storedError;
      errorReadable(stream, reason);
    },
    (failure) => errorReadable(stream, failure),
  );
}

function sinkClose(stream) {
  const { controller, readable } = stream;
  return finish(
    controller,
    controller.flush,
    () => {
      if (readable.state === "errored") throw readable.storedError;
      readable.controller.steps.close(readable.controller);
    },
    (failure) => errorReadable(stream, failure),
  );
}

function sourceCancel(stream, reason) {
  const { controller, writable } = stream;
  const { cancel } = controller;
  const unblock = (failure) => {
    w.errorIfNeeded(writable.controller, failure);
    if (stream.backpressure) setBackpressure(stream, false);
  };
  return finish(
    controller,
    () => (cancel === undefined ? p.promiseResolve() : cancel(reason)),
    () => {
      if (writable.state === "errored") throw writable.storedError;
      unblock(reason);
    },
    unblock,
  );
}

class TransformStreamDefaultController {
  #state;
  constructor(token = undefined, state = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
    this.#state = state;
  }
  get desiredSize() {
    return r.desiredSize(this.#state.stream.readable.controller);
  }
  enqueue(chunk = undefined) {
    enqueue(this.#state, chunk);
  }
  error(reason = undefined) {
    error(this.#state.stream, reason);
  }
  terminate() {
    const { stream } = this.#state;
    const { readable } = stream;
    readable.controller.steps.close(readable.controller);
    errorWritable(stream, new p.TypeError("The transform stream was terminated"));
  }
}
idl.iface(TransformStreamDefaultController, "TransformStreamDefaultController");

return { TransformStream, TransformStreamDefaultController, createPair };
