// AbortController, AbortSignal and DOMException.
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};

export default {
  async fetch() {
    const controller = new AbortController();
    const { signal } = controller;
    const log = [];
    signal.onabort = (event) => log.push("handler", event.isTrusted, event.target === signal);
    signal.addEventListener("abort", () => log.push("listener"));
    console.log(
      signal.aborted,
      signal.reason,
      thrown(() => signal.throwIfAborted()),
      signal === controller.signal,
    );
    controller.abort();
    controller.abort("second");
    console.log(
      signal.aborted,
      signal.reason.name,
      signal.reason.code,
      log.join(),
      thrown(() => signal.throwIfAborted()),
    );
    console.log(
      AbortSignal.abort().reason.name,
      AbortSignal.abort(1).reason,
      thrown(() => new AbortSignal()),
      thrown(() => AbortSignal.timeout(-1)),
    );

    const timeout = AbortSignal.timeout(5);
    await new Promise((resolve) => timeout.addEventListener("abort", resolve));
    console.log(timeout.reason.name, timeout.reason.code);

    const a = new AbortController();
    const b = new AbortController();
    const any = AbortSignal.any([a.signal, b.signal]);
    const nested = AbortSignal.any([any, new AbortController().signal]);
    const order = [];
    a.signal.addEventListener("abort", () => order.push("a", any.aborted, nested.aborted));
    any.addEventListener("abort", () => order.push("any"));
    nested.addEventListener("abort", () => order.push("nested"));
    a.abort("A");
    b.abort("B");
    console.log(
      any.reason,
      nested.reason,
      order.join(),
      AbortSignal.any([]).aborted,
      AbortSignal.any([AbortSignal.abort(7)]).reason,
    );
    console.log(
      thrown(() => AbortSignal.any([{}])),
      thrown(() => AbortSignal.any(1)),
    );

    const error = new DOMException("text", "NotFoundError");
    console.log(
      error.name,
      error.message,
      error.code,
      `${error}`,
      error instanceof Error,
      Object.prototype.toString.call(error),
    );
    console.log(error.stack.split("\n")[0], /abort\.js/.test(error.stack), /lethe:/.test(error.stack.split("\n")[1]));
    console.log(
      new DOMException().name,
      new DOMException("m", "Own").code,
      DOMException.DATA_CLONE_ERR,
      error.ABORT_ERR,
      Object.getOwnPropertyNames(error).join(),
    );
    class Sub extends DOMException {}
    console.log(
      new Sub("s") instanceof Sub,
      thrown(() => DOMException("m")),
      thrown(() => DOMException.prototype.name),
    );
    const waiting = new AbortController();
    const wait = scheduler.wait(10000, { signal: waiting.signal });
    waiting.abort();
    console.log(await wait.catch((reason) => reason.name), await scheduler.wait(1));
    return new Response("done");
  },
};
