// ReadableStream, its default reader and default controller, by the Streams standard. Public objects are thin: the
// standard's internal slots live in plain state objects, and its abstract operations are functions of them.
//
//   stream      { state, reader, storedError, disturbed, controller, object, origin }
//   reader      { stream, closed, byob, requests, object }       `closed` is a promise with its resolvers
//   controller  { stream, steps, queue, started, closeRequested, pulling, pullAgain, pull, cancel, size, highWaterMark }
//
// A read request is { chunk(value), close(value), error(reason) }. Byte streams are in `readable_bytes.js`, `tee` in
// `readable_tee.js`, `pipeTo` in `readable_pipe.js`, iteration and `from` in `readable_iterate.js`.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const q = lethe.use("stream_queue");

const INTERNAL = p.freeze({ __proto__: null });

let stateOf;
let isReadableStream;

class ReadableStream {
  #state;

  static {
    isReadableStream = (value) => idl.isObject(value) && #state in value;
    stateOf = (stream) => stream.#state;
  }

  constructor(underlyingSource = undefined, strategy = undefined) {
    if (underlyingSource === INTERNAL) {
      this.#state = strategy;
      strategy.object = this;
      return;
    }
    const where = "Failed to construct 'ReadableStream'";
    if (underlyingSource !== undefined && !idl.isObject(underlyingSource)) {
      throw new p.TypeError(`${where}: the underlying source is not an object`);
    }
    const read = q.strategy(strategy, where);
    const state = makeStream();
    state.object = this;
    this.#state = state;
    setUpFromSource(state, underlyingSource ?? p.create(null), underlyingSource, read, where);
  }

  static from(asyncIterable) {
    idl.required(arguments, 1, "Failed to execute 'from' on 'ReadableStream'");
    return wrap(lethe.use("readable_iterate").from(asyncIterable));
  }

  get locked() {
    return this.#state.reader !== null;
  }

  cancel(reason = undefined) {
    if (!isReadableStream(this)) return p.promiseReject(foreign("ReadableStream"));
    if (this.#state.reader !== null) return p.promiseReject(new p.TypeError("Cannot cancel a locked ReadableStream"));
    return cancel(this.#state, reason);
  }

  getReader(options = undefined) {
    const state = this.#state;
    const where = "Failed to execute 'getReader' on 'ReadableStream'";
    const { mode } = idl.dictionary(options, where);
    if (mode === undefined) return new ReadableStreamDefaultReader(this);
    idl.enumeration(mode, ["byob"], `${where}: mode`);
    return new (lethe.use("readable_bytes").ReadableStreamBYOBReader)(state.object);
  }

  pipeThrough(transform, options = undefined) {
    const state = this.#state;
    idl.required(arguments, 1, "Failed to execute 'pipeThrough' on 'ReadableStream'");
    return lethe.use("readable_pipe").pipeThrough(state, transform, options);
  }

  pipeTo(destination, options = undefined) {
    if (!isReadableStream(this)) return p.promiseReject(foreign("ReadableStream"));
    return lethe.use("readable_pipe").pipeTo(this.#state, destination, options);
  }

  tee() {
    const branches = lethe.use("readable_tee").tee(this.#state);
    return [wrap(branches[0]), wrap(branches[1])];
  }

  values(options = undefined) {
    return lethe.use("readable_iterate").values(this.#state, options);
  }
}
idl.iface(ReadableStream, "ReadableStream");
p.defineProperty(ReadableStream.prototype, p.symbolAsyncIterator, {
  __proto__: null,
  value: ReadableStream.prototype.values,
  writable: true,
  configurable: true,
});

function foreign(name) {
  return new p.TypeError(`The receiver is not a ${name}`);
}

function makeStream() {
  return {
    state: "readable",
    reader: null,
    storedError: undefined,
    disturbed: false,
    controller: null,
    object: null,
    origin: null,
  };
}

/** The public object of a stream. */
function wrap(stream) {
  return stream.object ?? new ReadableStream(INTERNAL, stream);
}

function setUpFromSource(stream, source, receiver, strategy, where) {
  const { autoAllocateChunkSize } = source;
  const chunkSize =
    autoAllocateChunkSize === undefined
      ? undefined
      : idl.enforceRange(autoAllocateChunkSize, 2 ** 53 - 1, `${where}: autoAllocateChunkSize`);
  const cancelMethod = q.method(source, "cancel", where);
  const pullMethod = q.method(source, "pull", where);
  const startMethod = q.method(source, "start", where);
  const { type } = source;
  if (type !== undefined) idl.enumeration(type, ["bytes"], `${where}: type`);
  const algorithms = (controller) => ({
    start: startMethod === undefined ? undefined : () => p.apply(startMethod, receiver, [controller.object]),
    pull: () => q.invoke(pullMethod, receiver, [controller.object]),
    cancel: (reason) => q.invoke(cancelMethod, receiver, [reason]),
  });
  if (type === undefined) {
    const size = q.sizeAlgorithm(strategy);
    const mark = q.highWaterMark(strategy, 1);
    const controller = makeController(stream, mark, size);
    controller.object = new ReadableStreamDefaultController(INTERNAL, controller);
    setUp(controller, algorithms(controller));
  } else {
    if (strategy.size !== undefined) throw new p.RangeError(`${where}: a byte stream has no size function`);
    const mark = q.highWaterMark(strategy, 0);
    lethe.use("readable_bytes").setUpPublic(stream, algorithms, mark, chunkSize);
  }
}

/**
 * A stream of our own making; `algorithms` has `start` (its result is awaited), `pull` and `cancel`,
 * each a function or undefined. All three must be own properties: a worker may have put a `start` on Object.prototype.
 */
function create(algorithms, highWaterMark = 1, size = q.one) {
  const stream = makeStream();
  setUp(makeController(stream, highWaterMark, size), algorithms);
  return stream;
}

function makeController(stream, highWaterMark, size) {
  return {
    stream,
    steps: defaultSteps,
    queue: q.make(),
    started: false,
    closeRequested: false,
    pulling: false,
    pullAgain: false,
    pull: undefined,
    cancel: undefined,
    size,
    highWaterMark,
    object: null,
  };
}

/** The controller's second half of construction; `start` may throw. Shared with byte streams. */
function setUp(controller, algorithms) {
  controller.pull = algorithms.pull;
  controller.cancel = algorithms.cancel;
  controller.stream.controller = controller;
  const started = algorithms.start === undefined ? undefined : algorithms.start();
  q.upon(
    p.promiseResolve(started),
    () => {
      controller.started = true;
      pullIfNeeded(controller);
    },
    (reason) => controller.steps.error(controller, reason),
  );
}

function pullIfNeeded(controller) {
  if (!controller.steps.shouldPull(controller)) return;
  if (controller.pulling) {
    controller.pullAgain = true;
    return;
  }
  controller.pulling = true;
  q.upon(
    controller.pull === undefined ? p.promiseResolve() : controller.pull(),
    () => {
      controller.pulling = false;
      if (!controller.pullAgain) return;
      controller.pullAgain = false;
      pullIfNeeded(controller);
    },
    (reason) => controller.steps.error(controller, reason),
  );
}

function clearAlgorithms(controller) {
  controller.pull = undefined;
  controller.cancel = undefined;
  controller.size = undefined;
}

function desiredSize(controller) {
  const { state } = controller.stream;
  if (state === "errored") return null;
  return state === "closed" ? 0 : controller.highWaterMark - controller.queue.total;
}

function canCloseOrEnqueue(controller) {
  return !controller.closeRequested && controller.stream.state === "readable";
}

const defaultSteps = {
  pull(controller, request) {
    const { queue, stream } = controller;
    if (q.isEmpty(queue)) {
      addRequest(stream, request);
      pullIfNeeded(controller);
      return;
    }
    const chunk = q.shift(queue);
    if (controller.closeRequested && q.isEmpty(queue)) {
      clearAlgorithms(controller);
      close(stream);
    } else {
      pullIfNeeded(controller);
    }
    request.chunk(chunk);
  },
  cancel(controller, reason) {
    q.reset(controller.queue);
    const result = controller.cancel === undefined ? p.promiseResolve() : controller.cancel(reason);
    clearAlgorithms(controller);
    return result;
  },
  release() {},
  shouldPull(controller) {
    if (!canCloseOrEnqueue(controller) || !controller.started) return false;
    return requestCount(controller.stream) > 0 || desiredSize(controller) > 0;
  },
  error(controller, reason) {
    if (controller.stream.state !== "readable") return;
    q.reset(controller.queue);
    clearAlgorithms(controller);
    error(controller.stream, reason);
  },
  close(controller) {
    if (!canCloseOrEnqueue(controller)) return;
    controller.closeRequested = true;
    if (!q.isEmpty(controller.queue)) return;
    clearAlgorithms(controller);
    close(controller.stream);
  },
  enqueue(controller, chunk) {
    if (!canCloseOrEnqueue(controller)) return;
    if (requestCount(controller.stream) > 0) {
      shiftRequest(controller.stream).chunk(chunk);
    } else {
      try {
        q.push(controller.queue, chunk, controller.size(chunk));
      } catch (reason) {
        defaultSteps.error(controller, reason);
        throw reason;
      }
    }
    pullIfNeeded(controller);
  },
};

let controllerOf;

class ReadableStreamDefaultController {
  #state;
  static {
    controllerOf = (controller) => controller.#state;
  }
  constructor(token = undefined, state = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
    this.#state = state;
  }
  get desiredSize() {
    return desiredSize(this.#state);
  }
  close() {
    const controller = this.#state;
    if (!canCloseOrEnqueue(controller)) throw new p.TypeError("Cannot close a stream that is closed or errored");
    defaultSteps.close(controller);
  }
  enqueue(chunk = undefined) {
    const controller = this.#state;
    if (!canCloseOrEnqueue(controller))
      throw new p.TypeError("Cannot enqueue a chunk into a stream that is closed or errored");
    defaultSteps.enqueue(controller, chunk);
  }
  error(reason = undefined) {
    defaultSteps.error(this.#state, reason);
  }
}
idl.iface(ReadableStreamDefaultController, "ReadableStreamDefaultController");

function close(stream) {
  stream.state = "closed";
  const { reader } = stream;
  if (reader === null) return;
  reader.closed.resolve();
  if (reader.byob) return;
  const { requests } = reader;
  reader.requests = q.make();
  while (!q.isEmpty(requests)) q.shift(requests).close();
}

function error(stream, reason) {
  stream.state = "errored";
  stream.storedError = reason;
  const { reader } = stream;
  if (reader === null) return;
  reader.closed.reject(reason);
  p.markHandled(reader.closed.promise);
  failRequests(reader, reason);
}

function cancel(stream, reason) {
  stream.disturbed = true;
  if (stream.state === "closed") return p.promiseResolve();
  if (stream.state === "errored") return p.promiseReject(stream.storedError);
  close(stream);
  const { reader } = stream;
  if (reader !== null && reader.byob) {
    const { requests } = reader;
    reader.requests = q.make();
    while (!q.isEmpty(requests)) q.shift(requests).close(undefined);
  }
  return p.promiseThen(stream.controller.steps.cancel(stream.controller, reason), p.nothing);
}

function addRequest(stream, request) {
  q.push(stream.reader.requests, request, 1);
}

function shiftRequest(stream) {
  return q.shift(stream.reader.requests);
}

/** Waiting reads of a default reader; 0 if there is none. */
function requestCount(stream) {
  const { reader } = stream;
  return reader === null || reader.byob ? 0 : reader.requests.total;
}

function failRequests(reader, reason) {
  const { requests } = reader;
  reader.requests = q.make();
  while (!q.isEmpty(requests)) q.shift(requests).error(reason);
}

/** Locks a stream to a new reader. */
function acquire(stream, byob = false) {
  if (stream.reader !== null) throw new p.TypeError("The ReadableStream is already locked to a reader");
  const reader = { stream, closed: p.promiseWithResolvers(), byob, requests: q.make(), object: null };
  stream.reader = reader;
  if (stream.state === "closed") {
    reader.closed.resolve();
  } else if (stream.state === "errored") {
    reader.closed.reject(stream.storedError);
    p.markHandled(reader.closed.promise);
  }
  return reader;
}

function release(reader) {
  const { stream } = reader;
  const reason = new p.TypeError("The reader was released");
  if (stream.state !== "readable") reader.closed = p.promiseWithResolvers();
  reader.closed.reject(reason);
  p.markHandled(reader.closed.promise);
  stream.controller.steps.release(stream.controller);
  stream.reader = null;
  reader.stream = null;
  failRequests(reader, new p.TypeError("The reader was released"));
}

function read(reader, request) {
  const { stream } = reader;
  stream.disturbed = true;
  if (stream.state === "closed") request.close();
  else if (stream.state === "errored") request.error(stream.storedError);
  else stream.controller.steps.pull(stream.controller, request);
}

/** A read as a promise of `{ value, done }`. */
function readPromise(reader) {
  const { promise, resolve, reject } = p.promiseWithResolvers();
  read(reader, {
    chunk: (value) => resolve({ value, done: false }),
    close: () => resolve({ value: undefined, done: true }),
    error: reject,
  });
  return promise;
}

class ReadableStreamDefaultReader {
  #state;
  static #of(value) {
    return idl.isObject(value) && #state in value ? value.#state : undefined;
  }
  constructor(stream) {
    idl.required(arguments, 1, "Failed to construct 'ReadableStreamDefaultReader'");
    if (!isReadableStream(stream)) throw new p.TypeError("The argument is not a ReadableStream");
    this.#state = acquire(stateOf(stream));
  }
  get closed() {
    const reader = ReadableStreamDefaultReader.#of(this);
    return reader === undefined ? p.promiseReject(foreign("ReadableStreamDefaultReader")) : reader.closed.promise;
  }
  cancel(reason = undefined) {
    const reader = ReadableStreamDefaultReader.#of(this);
    if (reader === undefined) return p.promiseReject(foreign("ReadableStreamDefaultReader"));
    if (reader.stream === null) return p.promiseReject(new p.TypeError("The reader was released"));
    return cancel(reader.stream, reason);
  }
  read() {
    const reader = ReadableStreamDefaultReader.#of(this);
    if (reader === undefined) return p.promiseReject(foreign("ReadableStreamDefaultReader"));
    if (reader.stream === null) return p.promiseReject(new p.TypeError("The reader was released"));
    return readPromise(reader);
  }
  releaseLock() {
    const reader = this.#state;
    if (reader.stream !== null) release(reader);
  }
}
idl.iface(ReadableStreamDefaultReader, "ReadableStreamDefaultReader");

const exports = {
  ReadableStream,
  ReadableStreamDefaultReader,
  ReadableStreamDefaultController,
  // State and operations for the other stream builtins.
  stateOf,
  controllerOf,
  makeStream,
  create,
  wrap,
  setUp,
  pullIfNeeded,
  clearAlgorithms,
  desiredSize,
  close,
  error,
  cancel,
  addRequest,
  shiftRequest,
  requestCount,
  acquire,
  release,
  read,
  readPromise,
  foreign,
  // For bodies.
  isReadableStream,
  isDisturbed: (object) => stateOf(object).disturbed,
  isLocked: (object) => stateOf(object).reader !== null,
  cancelObject: (object, reason) => cancel(stateOf(object), reason),
  takeOrigin: (object) => lethe.use("readable_origin").takeOrigin(stateOf(object)),
  errorOrigin: (object, reason) => lethe.use("readable_origin").errorOrigin(stateOf(object), reason),
  readAllBytes: (object, done, failed) => lethe.use("readable_origin").readAllBytes(stateOf(object), done, failed),
};
lethe.use("evaluated").readable = exports;
return exports;
