// What the event loop calls: one function per kind of event. Each ends in exactly one `ops.reply*` for its invocation.
"use strict";

const { ops } = lethe;
const { newIncomingRequest, describeResponse } = lethe.use("fetch");
const { workerContext, makeEnv, waitUntil } = lethe.use("context");
const { Promise, TypeError, Uint8Array } = globalThis;
const { isArray } = Array;
const { getPrototypeOf, hasOwn, prototype: objectPrototype } = Object;
const { apply, construct, get } = Reflect;
const { then } = Promise.prototype;
const { parse } = JSON;
const resolve = Promise.resolve.bind(Promise);

const HOLD_STREAM = 1;
// Methods that events other than calls reach, or that stubs have of their own.
const RESERVED = {
  __proto__: null,
  constructor: true, fetch: true, connect: true, alarm: true, dup: true, destroy: true,
  webSocketMessage: true, webSocketClose: true, webSocketError: true,
};

class NoHandler extends Error {}

let env;
let instance;

// Runs `work`, waits for what it returns and hands that to `reply`; whatever goes wrong is the invocation's error.
function run(invocation, work, reply) {
  try {
    answer(invocation, work(), reply);
  } catch (error) {
    fail(invocation, error);
  }
}

// Hands a result to `reply`, at once if it cannot be a promise.
function answer(invocation, result, reply) {
  if (result === null || (typeof result !== "object" && typeof result !== "function")) {
    reply(invocation, result);
    return;
  }
  const done = (value) => {
    try {
      reply(invocation, value);
    } catch (error) {
      fail(invocation, error);
    }
  };
  apply(then, resolve(result), [done, (error) => fail(invocation, error)]);
}

function fail(invocation, error) {
  ops.replyError(invocation, error, error instanceof NoHandler);
}

function replyResponse(invocation, response) {
  const { status, statusText, headers, body } = describeResponse(response);
  if (body === null || body instanceof Uint8Array || typeof body.rid === "number") {
    ops.replyResponse(invocation, status, statusText, headers, body === null || body instanceof Uint8Array ? body : body.rid);
    return;
  }
  const rid = lethe.use("readable_pump").pump(body, {
    failed: () => {},
    unwanted: (error) => error,
    ended: () => ops.hold(HOLD_STREAM, -1),
  });
  ops.hold(HOLD_STREAM, 1);
  ops.replyResponse(invocation, status, statusText, headers, rid);
}

// The object whose method `handler` serves the event, made when the export is a class.
function target(exports, entrypoint, handler) {
  const name = entrypoint ?? "default";
  const exported = exports[name];
  let object = exported;
  if (typeof exported === "function") {
    const { WorkerEntrypoint } = lethe.use("workers");
    if (!(exported.prototype instanceof WorkerEntrypoint)) {
      throw new NoHandler(`export ${name} is a class that does not extend WorkerEntrypoint`);
    }
    object = construct(exported, [workerContext(), env]);
  }
  if (object === null || object === undefined || typeof object[handler] !== "function") {
    throw new NoHandler(`the worker's export ${name} has no ${handler} handler`);
  }
  return object;
}

function method(name) {
  if (RESERVED[name] !== true) {
    // What the class and its ancestors have is visible, getters included; what the instance has of its own is not.
    let holder = hasOwn(instance, name) ? null : getPrototypeOf(instance);
    while (holder !== null && holder !== objectPrototype && !hasOwn(holder, name)) holder = getPrototypeOf(holder);
    if (holder !== null && holder !== objectPrototype) {
      const value = get(holder, name, instance);
      if (typeof value === "function") return value;
    }
  }
  throw new NoHandler(`the actor has no method ${name}`);
}

function encodeResult(name, value, json) {
  const { encode, encodeJson } = lethe.use("actor_wire");
  return (json ? encodeJson : encode)(value, `the result of ${name}()`);
}

return {
  waitUntil,

  setup(vars, namespaces) {
    env = lethe.env = makeEnv(vars, namespaces);
  },

  // Names of the exported classes that extend DurableObject.
  actorClasses(exports) {
    const { DurableObject } = lethe.use("workers");
    return Object.keys(exports).filter(
      (name) => typeof exports[name] === "function" && exports[name].prototype instanceof DurableObject,
    );
  },

  fetch(invocation, exports, entrypoint, request) {
    run(invocation, () => {
      const object = target(exports, entrypoint, "fetch");
      return object.fetch(newIncomingRequest(request), env, workerContext());
    }, replyResponse);
  },

  scheduled(invocation, exports, cron, scheduledTime) {
    run(invocation, () => {
      const object = target(exports, undefined, "scheduled");
      return object.scheduled({ cron, scheduledTime, noRetry() {} }, env, workerContext());
    }, (id) => ops.replyValue(id, undefined));
  },

  construct(invocation, exports, className, id, name) {
    run(invocation, () => {
      const actorClass = exports[className];
      if (typeof actorClass !== "function") throw new NoHandler(`the worker exports no class ${className}`);
      instance = construct(actorClass, [lethe.use("actor_state").newState(id, name, env), env]);
    }, (id) => ops.replyValue(id, undefined));
  },

  call(invocation, name, args, json) {
    run(invocation, () => {
      const list = json ? parse(args) : ops.deserialize(args);
      if (!isArray(list)) throw new TypeError("the arguments of a call must be an array");
      return apply(method(name), instance, list);
    }, (id, value) => ops.replyValue(id, encodeResult(name, value, json)));
  },

  actorFetch(invocation, request) {
    run(invocation, () => {
      if (typeof instance.fetch !== "function") throw new NoHandler("the actor has no fetch handler");
      return instance.fetch(newIncomingRequest(request));
    }, replyResponse);
  },

  // Tells the worker's own listeners of an exception nobody caught or, with its promise, of a rejection nobody handled;
  // true if one of them canceled the event.
  uncaught(error, promise) {
    const { events } = lethe.use("evaluated");
    return events !== undefined && lethe.use("report").tell(error, promise);
  },

  // The error that `serialize` throws for a value that cannot be cloned.
  dataCloneError(message) {
    const { DOMException } = lethe.use("dom_exception");
    return new DOMException(message, "DataCloneError");
  },
};
