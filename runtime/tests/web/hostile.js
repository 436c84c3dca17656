// Values that are cheap to make and dear to copy: natives refuse them, and console never runs a worker's code.
const thrown = (f) => {
  try {
    return typeof f();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};

export default {
  async fetch() {
    const rope = "x".repeat(2 ** 29 - 24);
    console.log(thrown(() => new TextEncoder().encode(rope)));
    console.log(thrown(() => new TextEncoder().encodeInto(rope, new Uint8Array(1))));
    console.log(thrown(() => btoa(rope)), thrown(() => atob(rope)));
    console.log(thrown(() => new TextDecoder(rope)));
    const long = "x".repeat(2 * 1024 * 1024);
    console.log(URL.canParse(`http://h/${long}`), URL.canParse(`http://h/${long.slice(16)}`));

    let ran = 0;
    const trap = new Proxy({}, Object.fromEntries(Reflect.ownKeys(Reflect).filter((key) => typeof key === "string").map((key) => [key, () => { ran++; return null; }])));
    class Getters {
      get value() {
        ran++;
        throw new Error("ran");
      }
      get [Symbol.toStringTag]() {
        ran++;
        return "ran";
      }
    }
    const own = Object.defineProperty({}, "g", { enumerable: true, get: () => ran++ });
    const error = Object.defineProperty(new Error("e"), "stack", { get: () => ran++ });
    console.log(new Getters(), own, trap, [trap], { trap });
    console.log("%o %O %j", own, trap, 1);
    console.log(typeof console.log(error), "code of the worker that ran:", ran);
    const cyclic = { map: new Map() };
    cyclic.map.set(cyclic, [cyclic]);
    console.log(cyclic);
    const sparse = [];
    sparse[2 ** 32 - 2] = 1;
    console.log(sparse, Object.assign([], { length: 1e9 }));
    console.log({ __proto__: null, a: Object.create({ constructor: 1 }) }, Object.setPrototypeOf(() => {}, null), Object.setPrototypeOf(new Map([[1, 2]]), null));
    console.log(Array.from({ length: 200 }, (_, i) => `item ${i}`).length, Object.keys(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, i]))).length);
    return new Response("done");
  },
};
