// Byte streams of the Streams standard: the byte controller, BYOB requests and the BYOB reader's side of a pull.
//
// A byte controller is the common controller state plus { pendings, byobRequest, autoAllocateChunkSize }. Its queue
// holds { buffer, byteOffset, byteLength }. A pending pull-into ("pending") is
// { buffer, bufferByteLength, byteOffset, byteLength, bytesFilled, minimumFill, elementSize, View, readerType }.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const q = lethe.use("stream_queue");
const r = lethe.use("readable");

const INTERNAL = p.freeze({ __proto__: null });

function isDetached(buffer) {
  return p.arrayBufferDetached(buffer);
}

/** "TransferArrayBuffer"; throws a TypeError for what cannot be moved (WebAssembly memory, a detached buffer). */
function transfer(buffer) {
  if (isDetached(buffer)) throw new p.TypeError("The ArrayBuffer is detached");
  return p.arrayBufferTransfer(buffer);
}

function makeController(stream, highWaterMark, autoAllocateChunkSize) {
  return {
    stream,
    steps: byteSteps,
    queue: q.make(),
    started: false,
    closeRequested: false,
    pulling: false,
    pullAgain: false,
    pull: undefined,
    cancel: undefined,
    size: undefined,
    highWaterMark,
    object: null,
    pendings: [],
    byobRequest: null,
    autoAllocateChunkSize,
  };
}

function setUpPublic(stream, algorithms, highWaterMark, chunkSize) {
  if (chunkSize === 0) throw new p.TypeError("autoAllocateChunkSize must not be 0");
  const controller = makeController(stream, highWaterMark, chunkSize);
  controller.object = new ReadableByteStreamController(INTERNAL, controller);
  r.setUp(controller, algorithms(controller));
}

/** A byte stream of our own making. */
function create(algorithms, highWaterMark = 0, chunkSize = undefined) {
  const stream = r.makeStream();
  r.setUp(makeController(stream, highWaterMark, chunkSize), algorithms);
  return stream;
}

const byteSteps = {
  pull(controller, request) {
    if (controller.queue.total > 0) {
      fillReadRequest(controller, request);
      return;
    }
    const size = controller.autoAllocateChunkSize;
    if (size !== undefined) {
      let buffer;
      try {
        buffer = new p.ArrayBuffer(size);
      } catch (reason) {
        request.error(reason);
        return;
      }
      p.arrayPush(controller.pendings, {
        buffer,
        bufferByteLength: size,
        byteOffset: 0,
        byteLength: size,
        bytesFilled: 0,
        minimumFill: 1,
        elementSize: 1,
        View: p.Uint8Array,
        readerType: "default",
      });
    }
    r.addRequest(controller.stream, request);
    r.pullIfNeeded(controller);
  },
  cancel(controller, reason) {
    clearPendings(controller);
    q.reset(controller.queue);
    const result = controller.cancel === undefined ? p.promiseResolve() : controller.cancel(reason);
    r.clearAlgorithms(controller);
    return result;
  },
  release(controller) {
    const { pendings } = controller;
    if (pendings.length === 0) return;
    pendings[0].readerType = "none";
    controller.pendings = [pendings[0]];
  },
  shouldPull(controller) {
    const { stream } = controller;
    if (stream.state !== "readable" || controller.closeRequested || !controller.started) return false;
    if (stream.reader !== null && stream.reader.requests.total > 0) return true;
    return r.desiredSize(controller) > 0;
  },
  error(controller, reason) {
    if (controller.stream.state !== "readable") return;
    clearPendings(controller);
    q.reset(controller.queue);
    r.clearAlgorithms(controller);
    r.error(controller.stream, reason);
  },
  close,
  enqueue,
};

function close(controller) {
  const { stream, pendings } = controller;
  if (controller.closeRequested || stream.state !== "readable") return;
  if (controller.queue.total > 0) {
    controller.closeRequested = true;
    return;
  }
  if (pendings.length > 0 && pendings[0].bytesFilled % pendings[0].elementSize !== 0) {
    const reason = new p.TypeError("The stream was closed in the middle of an element of the reader's view");
    byteSteps.error(controller, reason);
    throw reason;
  }
  r.clearAlgorithms(controller);
  r.close(stream);
}

/** `view` is a Uint8Array or any other view; its buffer is taken. */
function enqueue(controller, view) {
  const { stream } = controller;
  if (controller.closeRequested || stream.state !== "readable") return;
  const { buffer, byteOffset, byteLength } = partsOf(view);
  const moved = transfer(buffer);
  if (controller.pendings.length > 0) {
    const first = controller.pendings[0];
    if (isDetached(first.buffer)) throw new p.TypeError("The buffer of the pending read was detached");
    invalidateRequest(controller);
    first.buffer = transfer(first.buffer);
    if (first.readerType === "none") enqueueDetached(controller, first);
  }
  const { reader } = stream;
  if (reader !== null && !reader.byob) {
    while (reader.requests.total > 0 && controller.queue.total > 0) {
      fillReadRequest(controller, r.shiftRequest(stream));
    }
    if (reader.requests.total === 0) {
      push(controller, moved, byteOffset, byteLength);
    } else {
      if (controller.pendings.length > 0) p.arrayShift(controller.pendings);
      r.shiftRequest(stream).chunk(new p.Uint8Array(moved, byteOffset, byteLength));
    }
  } else {
    push(controller, moved, byteOffset, byteLength);
    if (reader !== null) commitAll(controller, fillPendings(controller));
  }
  r.pullIfNeeded(controller);
}

function partsOf(view) {
  return p.typedArrayTag(view) === undefined
    ? { buffer: p.dataViewBuffer(view), byteOffset: p.dataViewByteOffset(view), byteLength: p.dataViewByteLength(view) }
    : {
        buffer: p.typedArrayBuffer(view),
        byteOffset: p.typedArrayByteOffset(view),
        byteLength: p.typedArrayByteLength(view),
      };
}

function push(controller, buffer, byteOffset, byteLength) {
  q.push(controller.queue, { buffer, byteOffset, byteLength }, byteLength);
}

function enqueueDetached(controller, pending) {
  if (pending.bytesFilled > 0) pushClone(controller, pending.buffer, pending.byteOffset, pending.bytesFilled);
  p.arrayShift(controller.pendings);
}

function pushClone(controller, buffer, byteOffset, byteLength) {
  let clone;
  try {
    clone = p.arrayBufferSlice(buffer, byteOffset, byteOffset + byteLength);
  } catch (reason) {
    byteSteps.error(controller, reason);
    throw reason;
  }
  push(controller, clone, 0, byteLength);
}

function fillReadRequest(controller, request) {
  const { buffer, byteOffset, byteLength } = q.shift(controller.queue);
  drained(controller);
  request.chunk(new p.Uint8Array(buffer, byteOffset, byteLength));
}

function drained(controller) {
  if (controller.queue.total === 0 && controller.closeRequested) {
    r.clearAlgorithms(controller);
    r.close(controller.stream);
  } else {
    r.pullIfNeeded(controller);
  }
}

function clearPendings(controller) {
  invalidateRequest(controller);
  controller.pendings = [];
}

function invalidateRequest(controller) {
  if (controller.byobRequest === null) return;
  forget(controller.byobRequest);
  controller.byobRequest = null;
}

/** Copies queued bytes into a pending read; true once it has its minimum. */
function fill(controller, pending) {
  const { queue } = controller;
  const available = p.min(queue.total, pending.byteLength - pending.bytesFilled);
  const filled = pending.bytesFilled + available;
  const aligned = filled - (filled % pending.elementSize);
  const ready = aligned >= pending.minimumFill;
  let remaining = ready ? aligned - pending.bytesFilled : available;
  while (remaining > 0) {
    const head = q.peek(queue);
    const count = p.min(remaining, head.byteLength);
    const target = new p.Uint8Array(pending.buffer, pending.byteOffset + pending.bytesFilled, count);
    p.typedArraySet(target, new p.Uint8Array(head.buffer, head.byteOffset, count));
    if (count === head.byteLength) {
      q.shift(queue);
    } else {
      head.byteOffset += count;
      head.byteLength -= count;
      queue.items[queue.head].size -= count;
      queue.total -= count;
    }
    pending.bytesFilled += count;
    remaining -= count;
  }
  return ready;
}

function fillPendings(controller) {
  const filled = [];
  while (controller.pendings.length > 0 && controller.queue.total > 0) {
    if (!fill(controller, controller.pendings[0])) break;
    filled[filled.length] = p.arrayShift(controller.pendings);
  }
  return filled;
}

function commitAll(controller, pendings) {
  for (let i = 0; i < pendings.length; i++) commit(controller.stream, pendings[i]);
}

function commit(stream, pending) {
  const view = filledView(pending);
  const request = r.shiftRequest(stream);
  if (stream.state === "closed") request.close(view);
  else request.chunk(view);
}

function filledView({ View, buffer, byteOffset, bytesFilled, elementSize }) {
  return new View(transfer(buffer), byteOffset, bytesFilled / elementSize);
}

/** A BYOB read: fills `view` with at least `minimum` elements. */
function pullInto(controller, view, minimum, request) {
  const { stream } = controller;
  const isTyped = p.typedArrayTag(view) !== undefined;
  const elementSize = isTyped ? view.BYTES_PER_ELEMENT : 1;
  const { buffer, byteOffset, byteLength } = partsOf(view);
  let moved;
  try {
    moved = transfer(buffer);
  } catch (reason) {
    request.error(reason);
    return;
  }
  const pending = {
    buffer: moved,
    bufferByteLength: p.arrayBufferByteLength(moved),
    byteOffset,
    byteLength,
    bytesFilled: 0,
    minimumFill: minimum * elementSize,
    elementSize,
    View: isTyped ? VIEWS[p.typedArrayTag(view)] : p.DataView,
    readerType: "byob",
  };
  if (controller.pendings.length === 0) {
    if (stream.state === "closed") {
      request.close(new pending.View(moved, byteOffset, 0));
      return;
    }
    if (controller.queue.total > 0) {
      if (fill(controller, pending)) {
        const filled = filledView(pending);
        drained(controller);
        request.chunk(filled);
        return;
      }
      if (controller.closeRequested) {
        const reason = new p.TypeError("The stream was closed in the middle of an element of the reader's view");
        byteSteps.error(controller, reason);
        request.error(reason);
        return;
      }
    }
  }
  p.arrayPush(controller.pendings, pending);
  r.addRequest(stream, request);
  if (controller.pendings.length === 1) r.pullIfNeeded(controller);
}

const VIEWS = { __proto__: null };
const ALL_VIEWS = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  Float16Array,
];
for (let i = 0; i < ALL_VIEWS.length; i++) VIEWS[ALL_VIEWS[i].name] = ALL_VIEWS[i];

function respond(controller, count) {
  const first = controller.pendings[0];
  if (controller.stream.state === "closed") {
    if (count !== 0) throw new p.TypeError("After close, respond() takes only 0");
  } else {
    if (count === 0) throw new p.TypeError("respond(0) is only for a closed stream");
    if (first.bytesFilled + count > first.byteLength) throw new p.RangeError("More bytes than the view has room for");
  }
  first.buffer = transfer(first.buffer);
  respondInternal(controller, count);
}

function respondWithNewView(controller, view) {
  const first = controller.pendings[0];
  const { buffer, byteOffset, byteLength } = partsOf(view);
  if (controller.stream.state === "closed") {
    if (byteLength !== 0) throw new p.TypeError("After close, respondWithNewView() takes only an empty view");
  } else if (byteLength === 0) {
    throw new p.TypeError("An empty view is only for a closed stream");
  }
  if (first.byteOffset + first.bytesFilled !== byteOffset) throw new p.RangeError("The view starts at another offset");
  if (first.bufferByteLength !== p.arrayBufferByteLength(buffer))
    throw new p.RangeError("The view's buffer has another size");
  if (first.bytesFilled + byteLength > first.byteLength) throw new p.RangeError("The view is too long");
  first.buffer = transfer(buffer);
  respondInternal(controller, byteLength);
}

function respondInternal(controller, count) {
  const { stream } = controller;
  const first = controller.pendings[0];
  invalidateRequest(controller);
  if (stream.state === "closed") {
    if (first.readerType === "none") p.arrayShift(controller.pendings);
    if (stream.reader !== null && stream.reader.byob) {
      const filled = [];
      while (filled.length < stream.reader.requests.total) filled[filled.length] = p.arrayShift(controller.pendings);
      commitAll(controller, filled);
    }
  } else {
    respondReadable(controller, count, first);
  }
  r.pullIfNeeded(controller);
}

function respondReadable(controller, count, pending) {
  pending.bytesFilled += count;
  if (pending.readerType === "none") {
    enqueueDetached(controller, pending);
    commitAll(controller, fillPendings(controller));
    return;
  }
  if (pending.bytesFilled < pending.minimumFill) return;
  p.arrayShift(controller.pendings);
  const rest = pending.bytesFilled % pending.elementSize;
  if (rest > 0) {
    pushClone(controller, pending.buffer, pending.byteOffset + pending.bytesFilled - rest, rest);
    pending.bytesFilled -= rest;
  }
  const filled = fillPendings(controller);
  if (pending.readerType === "default") {
    r.shiftRequest(controller.stream).chunk(filledView(pending));
  } else {
    commit(controller.stream, pending);
  }
  commitAll(controller, filled);
}

/** The request of the first pending read, made on demand; null if there is none. */
function requestOf(controller) {
  if (controller.byobRequest === null && controller.pendings.length > 0) {
    const { buffer, byteOffset, byteLength, bytesFilled } = controller.pendings[0];
    const view = new p.Uint8Array(buffer, byteOffset + bytesFilled, byteLength - bytesFilled);
    controller.byobRequest = new ReadableStreamBYOBRequest(INTERNAL, controller, view);
  }
  return controller.byobRequest;
}

let forget;
let viewOf;

class ReadableStreamBYOBRequest {
  #controller;
  #view;
  static {
    viewOf = (request) => request.#view;
    forget = (request) => {
      request.#controller = null;
      request.#view = null;
    };
  }
  constructor(token = undefined, controller = undefined, view = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
    this.#controller = controller;
    this.#view = view;
  }
  get view() {
    return this.#view;
  }
  respond(bytesWritten) {
    const controller = this.#controller;
    const where = "Failed to execute 'respond' on 'ReadableStreamBYOBRequest'";
    idl.required(arguments, 1, where);
    const count = idl.enforceRange(bytesWritten, 2 ** 53 - 1, where);
    if (controller === null) throw new p.TypeError(`${where}: the request was already answered`);
    if (isDetached(p.typedArrayBuffer(this.#view))) throw new p.TypeError(`${where}: the view's buffer is detached`);
    respond(controller, count);
  }
  respondWithNewView(view) {
    const controller = this.#controller;
    const where = "Failed to execute 'respondWithNewView' on 'ReadableStreamBYOBRequest'";
    idl.required(arguments, 1, where);
    if (!p.isView(view)) throw new p.TypeError(`${where}: the argument is not a view`);
    if (controller === null) throw new p.TypeError(`${where}: the request was already answered`);
    if (isDetached(partsOf(view).buffer)) throw new p.TypeError(`${where}: the view's buffer is detached`);
    respondWithNewView(controller, view);
  }
}
idl.iface(ReadableStreamBYOBRequest, "ReadableStreamBYOBRequest");

class ReadableByteStreamController {
  #state;
  constructor(token = undefined, state = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
    this.#state = state;
  }
  get byobRequest() {
    return requestOf(this.#state);
  }
  get desiredSize() {
    return r.desiredSize(this.#state);
  }
  close() {
    const controller = this.#state;
    if (controller.closeRequested) throw new p.TypeError("The stream was already closed");
    if (controller.stream.state !== "readable")
      throw new p.TypeError("Cannot close a stream that is closed or errored");
    close(controller);
  }
  enqueue(chunk) {
    const controller = this.#state;
    const where = "Failed to execute 'enqueue' on 'ReadableByteStreamController'";
    idl.required(arguments, 1, where);
    if (!p.isView(chunk)) throw new p.TypeError(`${where}: the chunk is not a view`);
    const { buffer, byteLength } = partsOf(chunk);
    if (byteLength === 0) throw new p.TypeError(`${where}: the chunk is empty`);
    if (p.arrayBufferByteLength(buffer) === 0) throw new p.TypeError(`${where}: the chunk's buffer is empty`);
    if (controller.closeRequested) throw new p.TypeError(`${where}: the stream was already closed`);
    if (controller.stream.state !== "readable") throw new p.TypeError(`${where}: the stream is closed or errored`);
    enqueue(controller, chunk);
  }
  error(reason = undefined) {
    byteSteps.error(this.#state, reason);
  }
}
idl.iface(ReadableByteStreamController, "ReadableByteStreamController");

return {
  ReadableByteStreamController,
  ReadableStreamBYOBRequest,
  get ReadableStreamBYOBReader() {
    return lethe.use("readable_byob").ReadableStreamBYOBReader;
  },
  create,
  setUpPublic,
  isByteController: (controller) => controller.steps === byteSteps,
  close,
  enqueue,
  error: byteSteps.error,
  requestOf,
  viewOf,
  respond,
  respondWithNewView,
  pullInto,
  isDetached,
  partsOf,
};
