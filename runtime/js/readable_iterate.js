// Asynchronous iteration of a ReadableStream, and `ReadableStream.from`.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const r = lethe.use("readable");

// A stream's iterators share a prototype; what one call of `next` or `return` leaves is { reader, preventCancel, ongoing, finished }.
class StreamIterator {
  #state;
  static make(state) {
    const iterator = new StreamIterator();
    iterator.#state = state;
    return iterator;
  }
  static #of(value) {
    return idl.isObject(value) && #state in value ? value.#state : undefined;
  }
  next() {
    const state = StreamIterator.#of(this);
    if (state === undefined) return p.promiseReject(r.foreign("ReadableStream AsyncIterator"));
    return chain(state, () => nextStep(state));
  }
  return(value) {
    const state = StreamIterator.#of(this);
    if (state === undefined) return p.promiseReject(r.foreign("ReadableStream AsyncIterator"));
    return chain(state, () => returnStep(state, value));
  }
}
const { make } = StreamIterator;
p.setPrototypeOf(StreamIterator.prototype, p.AsyncIteratorPrototype);
delete StreamIterator.prototype.constructor;
idl.iface(StreamIterator, "ReadableStream AsyncIterator");
delete StreamIterator.prototype[p.symbolToStringTag];

function values(stream, options) {
  const { preventCancel } = idl.dictionary(options, "Failed to execute 'values' on 'ReadableStream'");
  return make({ reader: r.acquire(stream), preventCancel: !!preventCancel, ongoing: null, finished: false });
}

/** Calls run one after the other. */
function chain(state, step) {
  const { ongoing } = state;
  const promise = ongoing === null ? step() : p.promiseThen(ongoing, step, step);
  state.ongoing = promise;
  return promise;
}

function nextStep(state) {
  if (state.finished) return p.promiseResolve({ value: undefined, done: true });
  const { promise, resolve, reject } = p.promiseWithResolvers();
  const end = () => {
    state.finished = true;
    r.release(state.reader);
  };
  r.read(state.reader, {
    chunk: (value) => resolve({ value, done: false }),
    close: () => {
      end();
      resolve({ value: undefined, done: true });
    },
    error: (reason) => {
      end();
      reject(reason);
    },
  });
  return promise;
}

function returnStep(state, value) {
  if (state.finished) return p.promiseResolve({ value, done: true });
  state.finished = true;
  const { reader } = state;
  const done = () => ({ value, done: true });
  if (state.preventCancel) {
    r.release(reader);
    return p.promiseResolve(done());
  }
  const canceled = r.cancel(reader.stream, value);
  r.release(reader);
  return p.promiseThen(canceled, done);
}

/** "ReadableStreamFromIterable": a stream state that pulls from an iterator, asynchronous or not. */
function from(iterable) {
  const { iterator, next, isSync } = iteratorOf(iterable);
  const close = async (reason) => {
    const method = iterator.return;
    if (method === undefined || method === null) return;
    idl.callback(method, "The iterator's return");
    const result = await p.apply(method, iterator, [reason]);
    if (!idl.isObject(result)) throw new p.TypeError("The iterator's return() did not give an object");
    if (isSync) await result.value;
  };
  const stream = r.create(
    {
      start: undefined,
      pull: async () => {
        const result = isSync ? p.apply(next, iterator, []) : await p.apply(next, iterator, []);
        if (!idl.isObject(result)) throw new p.TypeError("The iterator's next() did not give an object");
        const { controller } = stream;
        if (result.done) {
          if (isSync) await result.value;
          controller.steps.close(controller);
        } else {
          controller.steps.enqueue(controller, isSync ? await result.value : result.value);
        }
      },
      cancel: close,
    },
    0,
  );
  return stream;
}

function iteratorOf(iterable) {
  if (iterable === undefined || iterable === null) throw new p.TypeError("The value is not iterable");
  let method = iterable[p.symbolAsyncIterator];
  const isSync = method === undefined || method === null;
  if (isSync) method = iterable[p.symbolIterator];
  if (typeof method !== "function") throw new p.TypeError("The value is not iterable");
  const iterator = p.apply(method, iterable, []);
  if (!idl.isObject(iterator)) throw new p.TypeError("The iterator is not an object");
  return { iterator, next: iterator.next, isSync };
}

return { values, from };
