// The global object: what is there, its shape, and the small functions.
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};
const interfaces =
  "AbortController AbortSignal Blob ByteLengthQueuingStrategy CloseEvent CountQueuingStrategy Crypto CryptoKey CustomEvent DOMException ErrorEvent Event EventTarget File FormData Headers MessageEvent Performance PromiseRejectionEvent ReadableByteStreamController ReadableStream ReadableStreamBYOBReader ReadableStreamBYOBRequest ReadableStreamDefaultController ReadableStreamDefaultReader Request Response SubtleCrypto TextDecoder TextDecoderStream TextEncoder TextEncoderStream TransformStream TransformStreamDefaultController URL URLSearchParams WritableStream WritableStreamDefaultController WritableStreamDefaultWriter".split(
    " ",
  );
const functions =
  "addEventListener atob btoa clearInterval clearTimeout dispatchEvent fetch queueMicrotask removeEventListener reportError setInterval setTimeout structuredClone".split(
    " ",
  );
const objects = "console crypto navigator performance scheduler self".split(" ");

export default {
  async fetch() {
    for (const name of interfaces) {
      const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
      const Interface = globalThis[name];
      const tag = Interface.prototype[Symbol.toStringTag];
      const members = Object.getOwnPropertyNames(Interface.prototype).filter((key) => key !== "constructor");
      const hidden = members.filter((key) => !Object.prototype.propertyIsEnumerable.call(Interface.prototype, key));
      const isRight =
        !descriptor.enumerable &&
        descriptor.configurable &&
        Interface.name === name &&
        tag === name &&
        hidden.length === 0;
      if (!isRight) console.log("wrong shape:", name, descriptor.enumerable, Interface.name, tag, hidden.join());
    }
    for (const name of functions) {
      const value = globalThis[name];
      if (
        typeof value !== "function" ||
        value.name !== name ||
        "prototype" in value ||
        !Object.keys(globalThis).includes(name)
      )
        console.log("wrong shape:", name);
    }
    for (const name of objects) if (typeof globalThis[name] !== "object") console.log("missing:", name);
    console.log(
      self === globalThis,
      navigator.userAgent,
      navigator.language,
      typeof performance.now(),
      performance.timeOrigin > 1.6e12,
    );
    console.log(
      thrown(() => structuredClone()),
      JSON.stringify(structuredClone({ a: [1n.toString(), new Date(0)] })),
      thrown(() => queueMicrotask(1)),
    );

    try {
      structuredClone({ f() {} });
    } catch (error) {
      console.log(error.name, error.code, error instanceof DOMException);
    }
    console.log(thrown(() => structuredClone(new Response())), thrown(() => structuredClone(new URL("http://h/"))));

    const order = [];
    queueMicrotask(() => order.push("microtask"));
    Promise.resolve().then(() => order.push("promise"));
    order.push("sync");
    await null;
    console.log(order.join());
    addEventListener("error", (event) => {
      order.push(event.error.message);
      event.preventDefault();
    });
    queueMicrotask(() => {
      throw new Error("thrown in a microtask");
    });
    await scheduler.wait(0);
    console.log(order.at(-1));
    const start = performance.now();
    await scheduler.wait(20);
    console.log("time passes:", performance.now() - start >= 19);
    console.log(await scheduler.wait(0, { signal: AbortSignal.abort("no") }).catch((reason) => reason));

    globalThis.fetch = () => "mine";
    globalThis.URL = 1;
    globalThis.TextEncoder = 2;
    console.log("globals can be replaced:", fetch(), URL, TextEncoder, new Request("http://x/").url);
    return new Response("done");
  },
};
