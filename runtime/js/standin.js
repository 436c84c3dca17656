// The least Headers, Request and Response there can be, until the `web` room's fetch builtin replaces them.
"use strict";

const { ops } = lethe;

class Headers {
  #list;
  constructor(init = []) {
    this.#list = init instanceof Headers ? [...init] : Array.isArray(init) ? [...init] : Object.entries(init);
    this.#list = this.#list.map(([name, value]) => [String(name).toLowerCase(), String(value)]);
  }
  get(name) {
    const found = this.#list.find(([key]) => key === name.toLowerCase());
    return found === undefined ? null : found[1];
  }
  set(name, value) {
    this.#list = this.#list.filter(([key]) => key !== name.toLowerCase());
    this.#list.push([name.toLowerCase(), String(value)]);
  }
  [Symbol.iterator]() {
    return this.#list[Symbol.iterator]();
  }
}

const encode = (text) => {
  const utf8 = unescape(encodeURIComponent(text));
  const bytes = new Uint8Array(utf8.length);
  for (let i = 0; i < utf8.length; i++) bytes[i] = utf8.charCodeAt(i);
  return bytes;
};

class Body {
  #body;
  constructor(body) {
    this.#body = typeof body === "string" ? encode(body) : body ?? null;
  }
  take() {
    return this.#body;
  }
  async bytes() {
    const body = this.#body;
    if (body === null) return new Uint8Array();
    if (body instanceof Uint8Array) return body;
    let all = [];
    for (;;) {
      const chunk = await ops.bodyRead(body.rid);
      if (chunk === undefined) return new Uint8Array(all);
      all = all.concat([...chunk]);
    }
  }
  async text() {
    let text = "";
    for (const byte of await this.bytes()) text += String.fromCharCode(byte);
    return decodeURIComponent(escape(text));
  }
  async json() {
    return JSON.parse(await this.text());
  }
}

class Request extends Body {
  constructor(url, init = {}) {
    super(init.body);
    this.url = String(url);
    this.method = init.method ?? "GET";
    this.headers = new Headers(init.headers);
  }
}

class Response extends Body {
  constructor(body, init = {}) {
    super(body);
    this.status = init.status ?? 200;
    this.statusText = init.statusText ?? "";
    this.headers = new Headers(init.headers);
  }
  static json(value) {
    return new Response(JSON.stringify(value), { headers: { "content-type": "application/json" } });
  }
}

return {
  Headers,
  Request,
  Response,
  newIncomingRequest: ({ method, url, headers, rid }) =>
    new Request(url, { method, headers, body: rid === null ? null : { rid } }),
  describeResponse: (response) => {
    if (!(response instanceof Response)) throw new TypeError("the handler did not return a Response");
    const { status, statusText, headers } = response;
    return { status, statusText, headers: [...headers], body: response.take() };
  },
};
