// Event, EventTarget, CustomEvent and their kin.
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};

export default {
  async fetch() {
    const log = [];
    const target = new EventTarget();
    target.addEventListener("x", (event) =>
      log.push("first", event.target === target, event.currentTarget === target, event.eventPhase, event.isTrusted),
    );
    target.addEventListener("x", {
      handleEvent(event) {
        log.push("object", this !== undefined, event.composedPath().length);
      },
    });
    target.addEventListener("x", () => log.push("capture"), true);
    const dispatched = new Event("x", { bubbles: true });
    console.log(
      target.dispatchEvent(dispatched),
      log.join(),
      dispatched.currentTarget,
      dispatched.eventPhase,
      dispatched.target === target,
    );

    const counts = { once: 0, twice: 0, removed: 0, signal: 0 };
    const t = new EventTarget();
    const twice = () => counts.twice++;
    const removed = () => counts.removed++;
    const controller = new AbortController();
    t.addEventListener("y", () => counts.once++, { once: true });
    t.addEventListener("y", twice);
    t.addEventListener("y", twice);
    t.addEventListener("y", twice, { capture: true });
    t.addEventListener("y", removed);
    t.removeEventListener("y", removed);
    t.addEventListener("y", () => counts.signal++, { signal: controller.signal });
    t.dispatchEvent(new Event("y"));
    controller.abort();
    t.dispatchEvent(new Event("y"));
    console.log(JSON.stringify(counts));

    const s = new EventTarget();
    const order = [];
    s.addEventListener("z", (event) => {
      order.push(1);
      event.stopImmediatePropagation();
    });
    s.addEventListener("z", () => order.push(2));
    s.dispatchEvent(new Event("z"));
    s.addEventListener("w", () => {
      order.push(3);
      s.addEventListener("w", () => order.push("added"));
      s.removeEventListener("w", late);
    });
    const late = () => order.push("late");
    s.addEventListener("w", late);
    s.dispatchEvent(new Event("w"));
    console.log("order:", order.join());

    const cancel = new Event("c", { cancelable: true });
    s.addEventListener("c", (event) => event.preventDefault());
    console.log(
      "canceled:",
      s.dispatchEvent(cancel),
      cancel.defaultPrevented,
      cancel.returnValue,
      s.dispatchEvent(new Event("c")),
    );
    const passive = new EventTarget();
    passive.addEventListener("c", (event) => event.preventDefault(), { passive: true });
    console.log("passive:", passive.dispatchEvent(new Event("c", { cancelable: true })));

    const again = new Event("again");
    s.addEventListener("again", () => {
      console.log(thrown(() => s.dispatchEvent(again)));
    });
    s.dispatchEvent(again);
    console.log(
      thrown(() => s.dispatchEvent({})),
      thrown(() => new Event()),
      thrown(() => s.addEventListener("a", 1)),
      s.addEventListener("a", null),
    );
    console.log(thrown(() => EventTarget.prototype.dispatchEvent.call({}, again)));

    addEventListener("error", (event) => {
      console.log("global error:", event.message, event.error.message);
      event.preventDefault();
    });
    s.addEventListener("throws", () => {
      throw new TypeError("from a listener");
    });
    s.addEventListener("throws", () => console.log("the next listener runs"));
    s.dispatchEvent(new Event("throws"));
    reportError(new Error("reported"));
    globalThis.addEventListener("g", (event) => console.log("global target:", event.target === globalThis));
    dispatchEvent(new Event("g"));

    setTimeout(() => {
      throw new RangeError("from a timer");
    }, 0);
    await scheduler.wait(2);
    const unhandled = (event) => {
      console.log("rejection:", event.type, event.reason.message, event.promise instanceof Promise, event.isTrusted);
      if (event.reason.message !== "log me") event.preventDefault();
    };
    addEventListener("unhandledrejection", unhandled);
    Promise.reject(new Error("nobody cares"));
    Promise.reject(Object.assign(new Error("log me"), { stack: "Error: log me" }));
    Promise.reject(new Error("somebody cares")).catch(() => {});
    await scheduler.wait(1);
    removeEventListener("unhandledrejection", unhandled);
    addEventListener("unhandledrejection", () => {
      throw Object.assign(new Error("a listener that throws"), { stack: "Error: a listener that throws" });
    });
    Promise.reject(Object.assign(new Error("the last"), { stack: "Error: the last" }));
    await scheduler.wait(1);

    const custom = new CustomEvent("k", { detail: [1] });
    custom.initCustomEvent("other", true, true, 2);
    console.log(
      custom.type,
      custom.detail,
      custom.bubbles,
      custom instanceof Event,
      Object.prototype.toString.call(custom),
    );
    const error = new ErrorEvent("e", { message: "m", lineno: 3, error: 4 });
    const message = new MessageEvent("m", { data: { a: 1 }, origin: "o", ports: [] });
    const close = new CloseEvent("c", { code: 1000, reason: "bye", wasClean: true });
    const rejection = new PromiseRejectionEvent("r", { promise: Promise.resolve(), reason: 5 });
    console.log(
      error.message,
      error.lineno,
      error.error,
      message.data.a,
      message.origin,
      Object.isFrozen(message.ports),
      close.code,
      close.reason,
      close.wasClean,
      rejection.reason,
    );
    console.log(
      Event.AT_TARGET,
      Event.prototype.AT_TARGET,
      Event.length,
      Object.getOwnPropertyDescriptor(custom, "isTrusted").configurable,
    );
    class Own extends EventTarget {}
    console.log(new Own() instanceof EventTarget, new Own().dispatchEvent(new Event("x")));
    return new Response("done");
  },
};
