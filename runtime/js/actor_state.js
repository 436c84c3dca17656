// `ctx` of an actor: its identity, its storage, and the ways to keep others out, to give up and to end.
"use strict";

const p = lethe.use("primordials");
const { newId } = lethe.use("actors");
const { section } = lethe.use("section");
const { ops } = lethe;

const INTERNAL = p.freeze({ __proto__: null });

class DurableObjectState {
  #id;
  #storage;
  #env;
  props = {};

  constructor(key, id, env) {
    if (key !== INTERNAL) throw new p.TypeError("Illegal constructor: an actor gets its ctx from the runtime");
    this.#id = id;
    this.#env = env;
  }

  get id() {
    return this.#id;
  }

  get env() {
    return this.#env;
  }

  get storage() {
    return (this.#storage ??= lethe.use("storage").newStorage());
  }

  waitUntil(promise) {
    lethe.use("context").waitUntil(promise);
  }

  /**
   * Runs `callback` while no event that it did not begin itself enters the actor. The actor is reset when the callback
   * throws or takes longer than `javascript.section_timeout_ms`.
   */
  async blockConcurrencyWhile(callback) {
    if (typeof callback !== "function") throw new p.TypeError("blockConcurrencyWhile() needs a function");
    return section(callback);
  }

  /** Resets the actor now: nothing after this call runs, and writes that are not committed are lost. */
  abort(reason = "ctx.abort() was called") {
    ops.actorAbort(`${reason}`);
  }

  /** Ends the actor for good once its earlier writes are committed: data erased, a tombstone stays. */
  async destroy() {
    await lethe.use("actor_wire").settle(ops.actorDestroySelf());
  }
}

lethe.unclonable(DurableObjectState);
p.defineProperty(DurableObjectState.prototype, p.symbolToStringTag, {
  __proto__: null,
  value: "DurableObjectState",
  configurable: true,
});

return { newState: (hex, name, env) => new DurableObjectState(INTERNAL, newId(hex, name), env) };
