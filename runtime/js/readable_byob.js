// ReadableStreamBYOBReader: reads into memory that the caller brings.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const r = lethe.use("readable");
const b = lethe.use("readable_bytes");

/** Locks a byte stream to a new BYOB reader. */
function acquire(stream) {
  if (!b.isByteController(stream.controller)) throw new p.TypeError("A BYOB reader needs a byte stream");
  return r.acquire(stream, true);
}

function read(reader, view, minimum, request) {
  const { stream } = reader;
  stream.disturbed = true;
  if (stream.state === "errored") request.error(stream.storedError);
  else b.pullInto(stream.controller, view, minimum, request);
}

class ReadableStreamBYOBReader {
  #state;
  static #of(value) {
    return idl.isObject(value) && #state in value ? value.#state : undefined;
  }
  constructor(stream) {
    idl.required(arguments, 1, "Failed to construct 'ReadableStreamBYOBReader'");
    if (!r.isReadableStream(stream)) throw new p.TypeError("The argument is not a ReadableStream");
    const state = r.stateOf(stream);
    if (state.reader !== null) throw new p.TypeError("The ReadableStream is already locked to a reader");
    this.#state = acquire(state);
  }
  get closed() {
    const reader = ReadableStreamBYOBReader.#of(this);
    return reader === undefined ? p.promiseReject(r.foreign("ReadableStreamBYOBReader")) : reader.closed.promise;
  }
  cancel(reason = undefined) {
    const reader = ReadableStreamBYOBReader.#of(this);
    if (reader === undefined) return p.promiseReject(r.foreign("ReadableStreamBYOBReader"));
    if (reader.stream === null) return p.promiseReject(new p.TypeError("The reader was released"));
    return r.cancel(reader.stream, reason);
  }
  async read(view, options = undefined) {
    const reader = ReadableStreamBYOBReader.#of(this);
    if (reader === undefined) throw r.foreign("ReadableStreamBYOBReader");
    const where = "Failed to execute 'read' on 'ReadableStreamBYOBReader'";
    idl.required(arguments, 1, where);
    if (!p.isView(view)) throw new p.TypeError(`${where}: the argument is not a view`);
    const minimum = minimumOf(options, where);
    checkView(view, minimum, where);
    if (reader.stream === null) throw new p.TypeError(`${where}: the reader was released`);
    const { promise, resolve, reject } = p.promiseWithResolvers();
    read(reader, view, minimum, {
      chunk: (value) => resolve({ value, done: false }),
      close: (value) => resolve({ value, done: true }),
      error: reject,
    });
    return promise;
  }
  releaseLock() {
    const reader = this.#state;
    if (reader.stream !== null) r.release(reader);
  }
}
idl.iface(ReadableStreamBYOBReader, "ReadableStreamBYOBReader");

function minimumOf(options, where) {
  const { min } = idl.dictionary(options, where);
  return min === undefined ? 1 : idl.enforceRange(min, 2 ** 53 - 1, `${where}: min`);
}

function checkView(view, minimum, where) {
  const { buffer, byteLength } = b.partsOf(view);
  if (!idl.isArrayBuffer(buffer)) throw new p.TypeError(`${where}: the view is of shared memory`);
  if (byteLength === 0) throw new p.TypeError(`${where}: the view is empty`);
  if (p.arrayBufferByteLength(buffer) === 0) throw new p.TypeError(`${where}: the view's buffer is empty`);
  if (b.isDetached(buffer)) throw new p.TypeError(`${where}: the view's buffer is detached`);
  if (minimum === 0) throw new p.TypeError(`${where}: min must be more than 0`);
  const room = p.typedArrayTag(view) === undefined ? byteLength : p.typedArrayLength(view);
  if (minimum > room) throw new p.RangeError(`${where}: min is more than the view has room for`);
}

return { ReadableStreamBYOBReader, acquire, read };
