// A worker that patches the language's own methods neither breaks builtins nor watches them.
export default {
  async fetch(request) {
    const seen = new Set();
    const watch = (object, names, label) => {
      for (const name of names) {
        const original = object[name];
        object[name] = function (...args) {
          seen.add(`${label}.${String(name)}`);
          return Reflect.apply(original, this, args);
        };
      }
    };
    const restore = [];
    const patch = (object, label, names) => {
      for (const name of names) restore.push([object, name, Object.getOwnPropertyDescriptor(object, name)]);
      watch(object, names, label);
    };
    patch(Array.prototype, "Array", [
      "push",
      "shift",
      "splice",
      "slice",
      "join",
      "includes",
      "indexOf",
      "sort",
      "map",
      "forEach",
      Symbol.iterator,
    ]);
    patch(Promise.prototype, "Promise", ["then", "catch", "finally"]);
    patch(String.prototype, "String", ["charCodeAt", "slice", "indexOf", "toLowerCase", "startsWith"]);
    patch(RegExp.prototype, "RegExp", ["exec", "test"]);
    patch(Map.prototype, "Map", ["get", "set"]);
    patch(Set.prototype, "Set", ["has", "forEach"]);
    patch(Function.prototype, "Function", ["call", "apply", "bind"]);
    patch(Object.getPrototypeOf(Uint8Array.prototype), "TypedArray", ["set", "slice", "subarray"]);
    seen.clear();

    const headers = new Headers({ "Content-Type": "text/plain", a: "1" });
    headers.append("a", "2");
    const response = new Response("body", { headers });
    const copy = response.clone();
    const text = await copy.text();
    const url = new URL("http://h/?a=1");
    url.searchParams.append("b", "2");
    const stream = new ReadableStream({
      start(c) {
        c.enqueue("x");
        c.close();
      },
    });
    const transformed = stream.pipeThrough(new TransformStream());
    const { value } = await transformed.getReader().read();
    const { 0: left } = new Response("tee").body.tee();
    const teed = await new Response(left).text();
    const controller = new AbortController();
    let aborted = false;
    controller.signal.addEventListener("abort", () => {
      aborted = true;
    });
    controller.abort();
    const echoed = await (await fetch("http://echo/", { method: "POST", body: "e" })).text();
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode("abc"));
    const form = new FormData();
    form.append("k", "v");
    const parsed = await new Response(form).formData();
    console.log("%s %o", "text", { a: [1] });
    const found = [];
    for (const entry of seen.values()) found[found.length] = entry;
    for (let i = 0; i < restore.length; i++) Object.defineProperty(restore[i][0], restore[i][1], restore[i][2]);

    console.log("seen:", found.sort().join());
    console.log(
      headers.get("a"),
      text,
      url.href,
      value,
      teed,
      aborted,
      echoed.endsWith("e"),
      digest.byteLength,
      parsed.get("k"),
      request.headers.get("none"),
    );
    return response;
  },
};
