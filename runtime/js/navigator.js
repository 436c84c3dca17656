// navigator and scheduler, as far as Workers have them.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");

const INTERNAL = p.freeze({ __proto__: null });

class Navigator {
  #brand = true;
  constructor(token = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
  }
  get userAgent() {
    this.#brand;
    return "Cloudflare-Workers";
  }
  get hardwareConcurrency() {
    this.#brand;
    return 1;
  }
  get language() {
    this.#brand;
    return "en";
  }
  get languages() {
    this.#brand;
    return LANGUAGES;
  }
}
const LANGUAGES = p.freeze(["en"]);
idl.iface(Navigator, "Navigator");

class Scheduler {
  #brand = true;
  constructor(token = undefined) {
    if (token !== INTERNAL) throw idl.illegal();
  }
  /** A promise that is fulfilled after `delay` milliseconds, or rejected when `options.signal` is aborted. */
  async wait(delay, options = undefined) {
    this.#brand;
    const where = "Failed to execute 'wait' on 'Scheduler'";
    idl.required(arguments, 1, where);
    const ms = +delay;
    const { signal } = idl.dictionary(options, where);
    const { setTimeout, clearTimeout } = lethe.use("timers");
    const { promise, resolve, reject } = p.promiseWithResolvers();
    if (signal === undefined) {
      setTimeout(() => resolve(), ms);
      return promise;
    }
    const abort = lethe.use("abort");
    if (!abort.isAbortSignal(signal)) throw new p.TypeError(`${where}: the signal is not an AbortSignal`);
    if (abort.isAborted(signal)) throw abort.reasonOf(signal);
    const timer = setTimeout(() => {
      abort.removeAlgorithm(signal, onAbort);
      resolve();
    }, ms);
    const onAbort = (reason) => {
      clearTimeout(timer);
      reject(reason);
    };
    abort.addAlgorithm(signal, onAbort);
    return promise;
  }
}
idl.iface(Scheduler, "Scheduler");

return { Navigator, navigator: new Navigator(INTERNAL), Scheduler, scheduler: new Scheduler(INTERNAL) };
