// AbortController and AbortSignal. Inside the runtime, `addAlgorithm` is told of an abort before any listener is.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const events = lethe.use("events");

const INTERNAL = p.freeze({ __proto__: null });
let inner;
let isAbortSignal;

class AbortSignal extends events.EventTarget {
  #inner;

  static {
    isAbortSignal = (value) => idl.isObject(value) && #inner in value;
    inner = (signal) => signal.#inner;
  }

  constructor(token = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
    super();
    // `dependents` follow this signal, `sources` are those it follows; both weak in spirit: an isolate is short-lived.
    this.#inner = {
      aborted: false,
      reason: undefined,
      algorithms: null,
      dependent: false,
      sources: null,
      dependents: null,
    };
  }

  static abort(reason = undefined) {
    const signal = make();
    const own = inner(signal);
    own.aborted = true;
    own.reason = reason === undefined ? abortError() : reason;
    return signal;
  }

  static timeout(milliseconds) {
    const where = "Failed to execute 'timeout' on 'AbortSignal'";
    idl.required(arguments, 1, where);
    const delay = idl.enforceRange(milliseconds, 2 ** 53 - 1, where);
    const signal = make();
    const { DOMException } = lethe.use("dom_exception");
    const reason = () => new DOMException("The operation was aborted due to timeout", "TimeoutError");
    lethe.use("timers").setTimeout(() => signalAbort(signal, reason()), delay);
    return signal;
  }

  static any(signals) {
    const where = "Failed to execute 'any' on 'AbortSignal'";
    idl.required(arguments, 1, where);
    return dependentOn(
      idl.sequenceOf(
        signals,
        (signal) => {
          if (!isAbortSignal(signal)) throw new p.TypeError(`${where}: an element is not an AbortSignal`);
          return signal;
        },
        where,
      ),
    );
  }

  get aborted() {
    return this.#inner.aborted;
  }
  get reason() {
    return this.#inner.reason;
  }
  throwIfAborted() {
    const own = this.#inner;
    if (own.aborted) throw own.reason;
  }
}
idl.iface(AbortSignal, "AbortSignal");
events.handlerAttribute(AbortSignal, "abort");

class AbortController {
  #signal = make();
  get signal() {
    return this.#signal;
  }
  abort(reason = undefined) {
    const signal = this.#signal;
    signalAbort(signal, reason === undefined ? abortError() : reason);
  }
}
idl.iface(AbortController, "AbortController");

function make() {
  return new AbortSignal(INTERNAL);
}

function abortError() {
  const { DOMException } = lethe.use("dom_exception");
  return new DOMException("The operation was aborted", "AbortError");
}

/** "Create a dependent abort signal". */
function dependentOn(signals) {
  const result = make();
  const own = inner(result);
  for (let i = 0; i < signals.length; i++) {
    const source = inner(signals[i]);
    if (source.aborted) {
      own.aborted = true;
      own.reason = source.reason;
      return result;
    }
  }
  own.dependent = true;
  own.sources = new p.Set();
  for (let i = 0; i < signals.length; i++) {
    const source = inner(signals[i]);
    if (source.dependent) p.setForEach(source.sources, (root) => link(root, result));
    else link(signals[i], result);
  }
  return result;
}

function link(source, result) {
  const { sources } = inner(result);
  if (p.setHas(sources, source)) return;
  p.setAdd(sources, source);
  const own = inner(source);
  own.dependents ??= [];
  own.dependents[own.dependents.length] = result;
}

/** "Signal abort": everything is marked before anything runs. */
function signalAbort(signal, reason) {
  const own = inner(signal);
  if (own.aborted) return;
  own.aborted = true;
  own.reason = reason;
  const marked = [];
  const dependents = own.dependents ?? [];
  for (let i = 0; i < dependents.length; i++) {
    const dependent = inner(dependents[i]);
    if (dependent.aborted) continue;
    dependent.aborted = true;
    dependent.reason = reason;
    marked[marked.length] = dependents[i];
  }
  own.dependents = null;
  runSteps(signal);
  for (let i = 0; i < marked.length; i++) runSteps(marked[i]);
}

function runSteps(signal) {
  const own = inner(signal);
  const { algorithms } = own;
  own.algorithms = null;
  if (algorithms !== null) p.setForEach(algorithms, (algorithm) => algorithm(own.reason));
  if (events.hasListeners(signal, "abort")) events.fire(signal, new events.Event("abort"));
}

/** Runs `algorithm(reason)` when the signal is aborted; not at all if it already is. */
function addAlgorithm(signal, algorithm) {
  const own = inner(signal);
  if (own.aborted) return;
  own.algorithms ??= new p.Set();
  p.setAdd(own.algorithms, algorithm);
}

function removeAlgorithm(signal, algorithm) {
  const { algorithms } = inner(signal);
  if (algorithms !== null) p.setDelete(algorithms, algorithm);
}

/** A fresh signal that follows `source` (an AbortSignal or null): what `request.signal` is. */
function following(source) {
  return dependentOn(source === null ? [] : [source]);
}

return {
  AbortController,
  AbortSignal,
  isAbortSignal,
  isAborted: (signal) => inner(signal).aborted,
  reasonOf: (signal) => inner(signal).reason,
  make,
  signalAbort,
  addAlgorithm,
  removeAlgorithm,
  following,
};
