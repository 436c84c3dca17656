// WritableStream, its writer and controller, by the Streams standard, in the shape of `readable.js`:
//
//   stream      { state, storedError, writer, controller, writing, closing, closeRequest, abortRequest, requests,
//                 backpressure, object }       `writing` and `closing` are requests in flight
//   writer      { stream, ready, closed }      each { promise, resolve, reject, pending }
//   controller  { stream, queue, started, size, highWaterMark, write, close, abort, signal, object }
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const q = lethe.use("stream_queue");

const INTERNAL = p.freeze({ __proto__: null });
const CLOSE = p.freeze({ __proto__: null });

let stateOf;
let isWritableStream;

class WritableStream {
  #state;

  static {
    isWritableStream = (value) => idl.isObject(value) && #state in value;
    stateOf = (stream) => stream.#state;
  }

  constructor(underlyingSink = undefined, strategy = undefined) {
    if (underlyingSink === INTERNAL) {
      this.#state = strategy;
      strategy.object = this;
      return;
    }
    const where = "Failed to construct 'WritableStream'";
    if (underlyingSink !== undefined && !idl.isObject(underlyingSink)) {
      throw new p.TypeError(`${where}: the underlying sink is not an object`);
    }
    const read = q.strategy(strategy, where);
    const state = makeStream();
    state.object = this;
    this.#state = state;
    setUpFromSink(state, underlyingSink ?? p.create(null), underlyingSink, read, where);
  }

  get locked() {
    return this.#state.writer !== null;
  }

  abort(reason = undefined) {
    if (!isWritableStream(this)) return p.promiseReject(foreign("WritableStream"));
    if (this.#state.writer !== null) return p.promiseReject(new p.TypeError("Cannot abort a locked WritableStream"));
    return abort(this.#state, reason);
  }

  close() {
    if (!isWritableStream(this)) return p.promiseReject(foreign("WritableStream"));
    const stream = this.#state;
    if (stream.writer !== null) return p.promiseReject(new p.TypeError("Cannot close a locked WritableStream"));
    if (isClosing(stream)) return p.promiseReject(new p.TypeError("The WritableStream is already being closed"));
    return close(stream);
  }

  getWriter() {
    this.#state;
    return new WritableStreamDefaultWriter(this);
  }
}
idl.iface(WritableStream, "WritableStream");

function foreign(name) {
  return new p.TypeError(`The receiver is not a ${name}`);
}

function makeStream() {
  return {
    state: "writable",
    storedError: undefined,
    writer: null,
    controller: null,
    writing: null,
    closing: null,
    closeRequest: null,
    abortRequest: null,
    requests: q.make(),
    backpressure: false,
    object: null,
  };
}

function wrap(stream) {
  return stream.object ?? new WritableStream(INTERNAL, stream);
}

function setUpFromSink(stream, sink, receiver, strategy, where) {
  const abortMethod = q.method(sink, "abort", where);
  const closeMethod = q.method(sink, "close", where);
  const startMethod = q.method(sink, "start", where);
  const { type } = sink;
  const writeMethod = q.method(sink, "write", where);
  if (type !== undefined) throw new p.RangeError(`${where}: a sink has no type yet`);
  const size = q.sizeAlgorithm(strategy);
  const controller = makeController(stream, q.highWaterMark(strategy, 1), size);
  controller.object = new WritableStreamDefaultController(INTERNAL, controller);
  setUp(controller, {
    start: startMethod === undefined ? undefined : () => p.apply(startMethod, receiver, [controller.object]),
    write: (chunk) => q.invoke(writeMethod, receiver, [chunk, controller.object]),
    close: () => q.invoke(closeMethod, receiver, []),
    abort: (reason) => q.invoke(abortMethod, receiver, [reason]),
  });
}

/** A stream of our own making; `algorithms` are functions that return promises. */
function create(algorithms, highWaterMark = 1, size = q.one) {
  const stream = makeStream();
  setUp(makeController(stream, highWaterMark, size), algorithms);
  return stream;
}

function makeController(stream, highWaterMark, size) {
  return {
    stream,
    queue: q.make(),
    started: false,
    size,
    highWaterMark,
    write: undefined,
    close: undefined,
    abort: undefined,
    signal: null,
    object: null,
  };
}

function setUp(controller, algorithms) {
  const { stream } = controller;
  controller.write = algorithms.write;
  controller.close = algorithms.close;
  controller.abort = algorithms.abort;
  stream.controller = controller;
  updateBackpressure(stream);
  const started = algorithms.start === undefined ? undefined : algorithms.start();
  q.upon(
    p.promiseResolve(started),
    () => {
      controller.started = true;
      advance(controller);
    },
    (reason) => {
      controller.started = true;
      dealWithRejection(stream, reason);
    },
  );
}

function clearAlgorithms(controller) {
  controller.write = undefined;
  controller.close = undefined;
  controller.abort = undefined;
  controller.size = undefined;
}

function desiredSize(controller) {
  return controller.highWaterMark - controller.queue.total;
}

function isClosing(stream) {
  return stream.closeRequest !== null || stream.closing !== null;
}

function abort(stream, reason) {
  if (stream.state === "closed" || stream.state === "errored") return p.promiseResolve();
  lethe.use("abort").signalAbort(signalOf(stream.controller), reason);
  if (stream.state === "closed" || stream.state === "errored") return p.promiseResolve();
  if (stream.abortRequest !== null) return stream.abortRequest.promise;
  const wasErroring = stream.state === "erroring";
  const request = p.promiseWithResolvers();
  stream.abortRequest = { ...request, reason: wasErroring ? undefined : reason, wasErroring };
  if (!wasErroring) startErroring(stream, reason);
  return request.promise;
}

function signalOf(controller) {
  return (controller.signal ??= lethe.use("abort").make());
}

function close(stream) {
  if (stream.state === "closed" || stream.state === "errored") {
    return p.promiseReject(new p.TypeError(`Cannot close a WritableStream that is ${stream.state}`));
  }
  stream.closeRequest = p.promiseWithResolvers();
  const { promise } = stream.closeRequest;
  if (stream.writer !== null && stream.backpressure && stream.state === "writable") settle(stream.writer.ready);
  q.push(stream.controller.queue, CLOSE, 0);
  advance(stream.controller);
  return promise;
}

function dealWithRejection(stream, reason) {
  if (stream.state === "writable") startErroring(stream, reason);
  else finishErroring(stream);
}

function startErroring(stream, reason) {
  stream.state = "erroring";
  stream.storedError = reason;
  if (stream.writer !== null) rejectReady(stream.writer, reason);
  if (stream.writing === null && stream.closing === null && stream.controller.started) finishErroring(stream);
}

function finishErroring(stream) {
  stream.state = "errored";
  q.reset(stream.controller.queue);
  const { requests, storedError, abortRequest } = stream;
  stream.requests = q.make();
  while (!q.isEmpty(requests)) q.shift(requests).reject(storedError);
  stream.abortRequest = null;
  if (abortRequest === null) {
    rejectClosed(stream);
    return;
  }
  if (abortRequest.wasErroring) {
    abortRequest.reject(storedError);
    rejectClosed(stream);
    return;
  }
  const { controller } = stream;
  const aborted = controller.abort === undefined ? p.promiseResolve() : controller.abort(abortRequest.reason);
  clearAlgorithms(controller);
  q.upon(
    aborted,
    () => {
      abortRequest.resolve();
      rejectClosed(stream);
    },
    (reason) => {
      abortRequest.reject(reason);
      rejectClosed(stream);
    },
  );
}

/** "RejectCloseAndClosedPromiseIfNeeded". */
function rejectClosed(stream) {
  if (stream.closeRequest !== null) {
    stream.closeRequest.reject(stream.storedError);
    stream.closeRequest = null;
  }
  if (stream.writer !== null) {
    fail(stream.writer.closed, stream.storedError);
  }
}

function updateBackpressure(stream) {
  const backpressure = desiredSize(stream.controller) <= 0;
  const { writer } = stream;
  if (writer !== null && backpressure !== stream.backpressure) {
    if (backpressure) writer.ready = deferred();
    else settle(writer.ready);
  }
  stream.backpressure = backpressure;
}

function advance(controller) {
  const { stream, queue } = controller;
  if (!controller.started || stream.writing !== null) return;
  if (stream.state === "erroring") {
    finishErroring(stream);
    return;
  }
  if (q.isEmpty(queue)) return;
  const value = q.peek(queue);
  if (value === CLOSE) processClose(controller);
  else processWrite(controller, value);
}

function processClose(controller) {
  const { stream } = controller;
  stream.closing = stream.closeRequest;
  stream.closeRequest = null;
  q.shift(controller.queue);
  const closed = controller.close === undefined ? p.promiseResolve() : controller.close();
  clearAlgorithms(controller);
  q.upon(
    closed,
    () => {
      stream.closing.resolve();
      stream.closing = null;
      if (stream.state === "erroring") {
        stream.storedError = undefined;
        if (stream.abortRequest !== null) stream.abortRequest.resolve();
        stream.abortRequest = null;
      }
      stream.state = "closed";
      if (stream.writer !== null) settle(stream.writer.closed);
    },
    (reason) => {
      stream.closing.reject(reason);
      stream.closing = null;
      if (stream.abortRequest !== null) stream.abortRequest.reject(reason);
      stream.abortRequest = null;
      dealWithRejection(stream, reason);
    },
  );
}

function processWrite(controller, chunk) {
  const { stream } = controller;
  stream.writing = q.shift(stream.requests);
  q.upon(
    controller.write(chunk),
    () => {
      stream.writing.resolve();
      stream.writing = null;
      q.shift(controller.queue);
      if (!isClosing(stream) && stream.state === "writable") updateBackpressure(stream);
      advance(controller);
    },
    (reason) => {
      if (stream.state === "writable") clearAlgorithms(controller);
      stream.writing.reject(reason);
      stream.writing = null;
      dealWithRejection(stream, reason);
    },
  );
}

function errorIfNeeded(controller, reason) {
  if (controller.stream.state !== "writable") return;
  clearAlgorithms(controller);
  startErroring(controller.stream, reason);
}

let controllerBrand;

class WritableStreamDefaultController {
  #state;
  static {
    controllerBrand = (value) => value.#state;
  }
  constructor(token = undefined, state = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
    this.#state = state;
  }
  get signal() {
    return signalOf(this.#state);
  }
  error(reason = undefined) {
    errorIfNeeded(controllerBrand(this), reason);
  }
}
idl.iface(WritableStreamDefaultController, "WritableStreamDefaultController");

function deferred() {
  return { ...p.promiseWithResolvers(), pending: true };
}

function settle(deferred) {
  deferred.pending = false;
  deferred.resolve();
}

function fail(deferred, reason) {
  deferred.pending = false;
  deferred.reject(reason);
  p.markHandled(deferred.promise);
}

/** A promise that is rejected from now on, even if it was fulfilled before. */
function rejected(old, reason) {
  const made = old.pending ? old : deferred();
  fail(made, reason);
  return made;
}

function rejectReady(writer, reason) {
  writer.ready = rejected(writer.ready, reason);
}

/** Locks a stream to a new writer. */
function acquire(stream) {
  if (stream.writer !== null) throw new p.TypeError("The WritableStream is already locked to a writer");
  const writer = { stream, ready: deferred(), closed: deferred() };
  stream.writer = writer;
  if (stream.state === "writable") {
    if (isClosing(stream) || !stream.backpressure) settle(writer.ready);
  } else if (stream.state === "erroring") {
    fail(writer.ready, stream.storedError);
  } else if (stream.state === "closed") {
    settle(writer.ready);
    settle(writer.closed);
  } else {
    fail(writer.ready, stream.storedError);
    fail(writer.closed, stream.storedError);
  }
  return writer;
}

function release(writer) {
  const reason = new p.TypeError("The writer was released");
  rejectReady(writer, reason);
  writer.closed = rejected(writer.closed, reason);
  writer.stream.writer = null;
  writer.stream = null;
}

function write(writer, chunk) {
  const { stream } = writer;
  const { controller } = stream;
  const size = chunkSize(controller, chunk);
  if (stream !== writer.stream) return p.promiseReject(new p.TypeError("The writer was released"));
  if (stream.state === "errored") return p.promiseReject(stream.storedError);
  if (isClosing(stream) || stream.state === "closed") {
    return p.promiseReject(new p.TypeError("Cannot write to a WritableStream that is closed or being closed"));
  }
  if (stream.state === "erroring") return p.promiseReject(stream.storedError);
  const request = p.promiseWithResolvers();
  q.push(stream.requests, request, 1);
  try {
    q.push(controller.queue, chunk, size);
  } catch (reason) {
    errorIfNeeded(controller, reason);
    return request.promise;
  }
  if (!isClosing(stream) && stream.state === "writable") updateBackpressure(stream);
  advance(controller);
  return request.promise;
}

function chunkSize(controller, chunk) {
  if (controller.size === undefined) return 1;
  try {
    return controller.size(chunk);
  } catch (reason) {
    errorIfNeeded(controller, reason);
    return 1;
  }
}

/** "WritableStreamDefaultWriterCloseWithErrorPropagation". */
function closeWithErrorPropagation(writer) {
  const { stream } = writer;
  if (isClosing(stream) || stream.state === "closed") return p.promiseResolve();
  if (stream.state === "errored") return p.promiseReject(stream.storedError);
  return close(stream);
}

class WritableStreamDefaultWriter {
  #state;
  static #of(value) {
    return idl.isObject(value) && #state in value ? value.#state : undefined;
  }
  constructor(stream) {
    idl.required(arguments, 1, "Failed to construct 'WritableStreamDefaultWriter'");
    if (!isWritableStream(stream)) throw new p.TypeError("The argument is not a WritableStream");
    this.#state = acquire(stateOf(stream));
  }
  get closed() {
    const writer = WritableStreamDefaultWriter.#of(this);
    return writer === undefined ? p.promiseReject(foreign("WritableStreamDefaultWriter")) : writer.closed.promise;
  }
  get desiredSize() {
    const { stream } = this.#state;
    if (stream === null) throw new p.TypeError("The writer was released");
    if (stream.state === "errored" || stream.state === "erroring") return null;
    return stream.state === "closed" ? 0 : desiredSize(stream.controller);
  }
  get ready() {
    const writer = WritableStreamDefaultWriter.#of(this);
    return writer === undefined ? p.promiseReject(foreign("WritableStreamDefaultWriter")) : writer.ready.promise;
  }
  abort(reason = undefined) {
    const writer = WritableStreamDefaultWriter.#of(this);
    if (writer === undefined) return p.promiseReject(foreign("WritableStreamDefaultWriter"));
    if (writer.stream === null) return p.promiseReject(new p.TypeError("The writer was released"));
    return abort(writer.stream, reason);
  }
  close() {
    const writer = WritableStreamDefaultWriter.#of(this);
    if (writer === undefined) return p.promiseReject(foreign("WritableStreamDefaultWriter"));
    const { stream } = writer;
    if (stream === null) return p.promiseReject(new p.TypeError("The writer was released"));
    if (isClosing(stream)) return p.promiseReject(new p.TypeError("The WritableStream is already being closed"));
    return close(stream);
  }
  releaseLock() {
    const writer = this.#state;
    if (writer.stream !== null) release(writer);
  }
  write(chunk = undefined) {
    const writer = WritableStreamDefaultWriter.#of(this);
    if (writer === undefined) return p.promiseReject(foreign("WritableStreamDefaultWriter"));
    if (writer.stream === null) return p.promiseReject(new p.TypeError("The writer was released"));
    return write(writer, chunk);
  }
}
idl.iface(WritableStreamDefaultWriter, "WritableStreamDefaultWriter");

return {
  WritableStream,
  WritableStreamDefaultWriter,
  WritableStreamDefaultController,
  isWritableStream,
  stateOf,
  create,
  wrap,
  isClosing,
  abort,
  close,
  errorIfNeeded,
  acquire,
  release,
  write,
  closeWithErrorPropagation,
  foreign,
};
