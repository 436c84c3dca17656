// Event, CustomEvent and EventTarget of the DOM standard, for targets that have no parents. The global object is a
// target too: its methods may be called without a receiver.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");

const scope = globalThis;
let inner;
let isEvent;

function trusted() {
  return inner(this).trusted;
}
const UNFORGEABLE = p.freeze({
  __proto__: null,
  get: p.getOwnPropertyDescriptor(
    {
      get isTrusted() {
        return p.apply(trusted, this, []);
      },
    },
    "isTrusted",
  ).get,
  enumerable: true,
  configurable: false,
});

class Event {
  #inner;

  static {
    isEvent = (value) => idl.isObject(value) && #inner in value;
    inner = (event) => event.#inner;
  }

  constructor(type, init = undefined) {
    idl.required(arguments, 1, "Failed to construct 'Event'");
    const name = idl.domString(type);
    const { bubbles, cancelable, composed } = idl.dictionary(init, "Failed to construct 'Event'");
    this.#inner = {
      type: name,
      bubbles: !!bubbles,
      cancelable: !!cancelable,
      composed: !!composed,
      target: null,
      currentTarget: null,
      phase: 0,
      stopped: false,
      stoppedNow: false,
      canceled: false,
      passive: false,
      dispatching: false,
      trusted: false,
      timeStamp: lethe.ops.now(),
    };
    p.defineProperty(this, "isTrusted", UNFORGEABLE);
  }

  get type() {
    return this.#inner.type;
  }
  get target() {
    return this.#inner.target;
  }
  get srcElement() {
    return this.#inner.target;
  }
  get currentTarget() {
    return this.#inner.currentTarget;
  }
  composedPath() {
    const { currentTarget } = this.#inner;
    return currentTarget === null ? [] : [currentTarget];
  }
  get eventPhase() {
    return this.#inner.phase;
  }
  stopPropagation() {
    this.#inner.stopped = true;
  }
  get cancelBubble() {
    return this.#inner.stopped;
  }
  set cancelBubble(value) {
    const own = this.#inner;
    if (value) own.stopped = true;
  }
  stopImmediatePropagation() {
    const own = this.#inner;
    own.stopped = true;
    own.stoppedNow = true;
  }
  get bubbles() {
    return this.#inner.bubbles;
  }
  get cancelable() {
    return this.#inner.cancelable;
  }
  get returnValue() {
    return !this.#inner.canceled;
  }
  set returnValue(value) {
    const own = this.#inner;
    if (!value) cancel(own);
  }
  preventDefault() {
    cancel(this.#inner);
  }
  get defaultPrevented() {
    return this.#inner.canceled;
  }
  get composed() {
    return this.#inner.composed;
  }
  get timeStamp() {
    return this.#inner.timeStamp;
  }
  initEvent(type, bubbles = false, cancelable = false) {
    const own = this.#inner;
    idl.required(arguments, 1, "Failed to execute 'initEvent' on 'Event'");
    const name = idl.domString(type);
    if (!own.dispatching) reinitialize(own, name, !!bubbles, !!cancelable);
  }
}

function cancel(own) {
  if (own.cancelable && !own.passive) own.canceled = true;
}

function reinitialize(own, type, bubbles, cancelable) {
  own.type = type;
  own.bubbles = bubbles;
  own.cancelable = cancelable;
  own.stopped = own.stoppedNow = own.canceled = own.trusted = false;
  own.target = null;
}

idl.iface(Event, "Event", { NONE: 0, CAPTURING_PHASE: 1, AT_TARGET: 2, BUBBLING_PHASE: 3 });

class CustomEvent extends Event {
  #detail;
  constructor(type, init = undefined) {
    idl.required(arguments, 1, "Failed to construct 'CustomEvent'");
    super(type, init);
    const detail = init === undefined || init === null ? undefined : init.detail;
    this.#detail = detail === undefined ? null : detail;
  }
  get detail() {
    return this.#detail;
  }
  initCustomEvent(type, bubbles = false, cancelable = false, detail = null) {
    this.#detail;
    idl.required(arguments, 1, "Failed to execute 'initCustomEvent' on 'CustomEvent'");
    const own = inner(this);
    const name = idl.domString(type);
    if (own.dispatching) return;
    reinitialize(own, name, !!bubbles, !!cancelable);
    this.#detail = detail;
  }
}
idl.iface(CustomEvent, "CustomEvent");

let listenersOf;
let handlersOf;
let isEventTarget;

class EventTarget {
  // Listeners in the order they were added: { type, callback, capture, once, passive, removed }.
  #listeners = [];
  #handlers = null;

  static {
    isEventTarget = (value) => idl.isObject(value) && #listeners in value;
    listenersOf = (target) => target.#listeners;
    handlersOf = (target) => (target.#handlers ??= { __proto__: null });
  }

  constructor() {}

  addEventListener(type, callback, options = undefined) {
    const where = "Failed to execute 'addEventListener' on 'EventTarget'";
    const target = targetOf(this);
    idl.required(arguments, 2, where);
    const name = idl.domString(type);
    checkCallback(callback, where);
    const { capture, once, passive, signal } = listenerOptions(options);
    if (signal !== undefined && !lethe.use("abort").isAbortSignal(signal)) {
      throw new p.TypeError(`${where}: the signal is not an AbortSignal`);
    }
    if (callback === null || (signal !== undefined && lethe.use("abort").isAborted(signal))) return;
    const list = listenersOf(target);
    if (find(list, name, callback, capture) !== -1) return;
    const listener = { type: name, callback, capture, once, passive, removed: false };
    list[list.length] = listener;
    if (signal !== undefined) lethe.use("abort").addAlgorithm(signal, () => remove(list, listener));
  }

  removeEventListener(type, callback, options = undefined) {
    const where = "Failed to execute 'removeEventListener' on 'EventTarget'";
    const target = targetOf(this);
    idl.required(arguments, 2, where);
    const name = idl.domString(type);
    checkCallback(callback, where);
    const capture = idl.isObject(options) ? !!options.capture : !!options;
    const list = listenersOf(target);
    const at = find(list, name, callback, capture);
    if (at !== -1) remove(list, list[at]);
  }

  dispatchEvent(event) {
    const where = "Failed to execute 'dispatchEvent' on 'EventTarget'";
    const target = targetOf(this);
    idl.required(arguments, 1, where);
    if (!isEvent(event)) throw new p.TypeError(`${where}: the argument is not an Event`);
    if (inner(event).dispatching) {
      const { DOMException } = lethe.use("dom_exception");
      throw new DOMException(`${where}: the event is already being dispatched`, "InvalidStateError");
    }
    inner(event).trusted = false;
    return dispatch(target, event);
  }
}
idl.iface(EventTarget, "EventTarget");

const globalTarget = new EventTarget();

function targetOf(self) {
  if (self === undefined || self === null || self === scope) return globalTarget;
  if (!isEventTarget(self)) throw new p.TypeError("The receiver is not an EventTarget");
  return self;
}

function checkCallback(callback, where) {
  if (callback !== null && callback !== undefined && !idl.isObject(callback)) {
    throw new p.TypeError(`${where}: the listener is neither a function nor an object`);
  }
}

function listenerOptions(options) {
  if (!idl.isObject(options)) return { capture: !!options, once: false, passive: false, signal: undefined };
  const { capture, once, passive, signal } = options;
  return { capture: !!capture, once: !!once, passive: !!passive, signal };
}

function find(list, type, callback, capture) {
  for (let i = 0; i < list.length; i++) {
    if (list[i].type === type && list[i].callback === callback && list[i].capture === capture) return i;
  }
  return -1;
}

function remove(list, listener) {
  listener.removed = true;
  const at = p.arrayIndexOf(list, listener);
  if (at !== -1) p.arraySplice(list, at, 1);
}

/** Runs the listeners; false if one of them canceled the event. */
function dispatch(target, event) {
  const own = inner(event);
  own.dispatching = true;
  own.target = own.currentTarget = target === globalTarget ? scope : target;
  own.phase = 2;
  // Capturing listeners of the target itself run before the others.
  invoke(target, event, own, true);
  if (!own.stopped) invoke(target, event, own, false);
  own.phase = 0;
  own.currentTarget = null;
  own.dispatching = own.stopped = own.stoppedNow = false;
  return !own.canceled;
}

function invoke(target, event, own, capture) {
  const live = listenersOf(target);
  if (live.length === 0) return;
  const list = p.arraySlice(live);
  for (let i = 0; i < list.length && !own.stoppedNow; i++) {
    const listener = list[i];
    if (listener.type !== own.type || listener.capture !== capture || listener.removed) continue;
    if (listener.once) remove(live, listener);
    own.passive = listener.passive;
    try {
      callListener(listener.callback, own.currentTarget, event);
    } catch (error) {
      lethe.use("report").report(error);
    }
    own.passive = false;
  }
}

function callListener(callback, currentTarget, event) {
  if (typeof callback === "function") {
    p.apply(callback, currentTarget, [event]);
    return;
  }
  const { handleEvent } = callback;
  if (typeof handleEvent !== "function") throw new p.TypeError("The listener has no handleEvent method");
  p.apply(handleEvent, callback, [event]);
}

/** Fires an event of the runtime's own making. */
function fire(target, event) {
  inner(event).trusted = true;
  return dispatch(target, event);
}

function hasListeners(target, type) {
  const list = listenersOf(target);
  for (let i = 0; i < list.length; i++) if (list[i].type === type) return true;
  return false;
}

/** Adds the event handler attribute `on<type>` to a class. */
function handlerAttribute(Class, type) {
  const key = `on${type}`;
  const get = function () {
    const handlers = handlersOf(targetOf(this));
    return handlers[type]?.handler ?? null;
  };
  const set = function (value) {
    const target = targetOf(this);
    setHandler(target, type, idl.isObject(value) ? value : null);
  };
  p.defineProperty(get, "name", { __proto__: null, value: `get ${key}` });
  p.defineProperty(set, "name", { __proto__: null, value: `set ${key}` });
  p.defineProperty(Class.prototype, key, { __proto__: null, get, set, enumerable: true, configurable: true });
}

function setHandler(target, type, value) {
  const handlers = handlersOf(target);
  const entry = handlers[type];
  if (value === null) {
    if (entry !== undefined) remove(listenersOf(target), entry.listener);
    delete handlers[type];
  } else if (entry !== undefined) {
    entry.handler = value;
  } else {
    const made = { handler: value, listener: null };
    const callback = (event) => {
      if (typeof made.handler !== "function") return;
      if (p.apply(made.handler, inner(event).currentTarget, [event]) === false) cancel(inner(event));
    };
    made.listener = { type, callback, capture: false, once: false, passive: false, removed: false };
    handlers[type] = made;
    listenersOf(target)[listenersOf(target).length] = made.listener;
  }
}

const { addEventListener, removeEventListener, dispatchEvent } = EventTarget.prototype;

const exports = {
  Event,
  CustomEvent,
  EventTarget,
  addEventListener,
  removeEventListener,
  dispatchEvent,
  globalTarget,
  isEvent,
  fire,
  hasListeners,
  handlerAttribute,
};
lethe.use("evaluated").events = exports;
return exports;
