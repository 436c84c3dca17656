// Which global comes from which builtin. Eager builtins are evaluated into the startup snapshot and cost every
// isolate; lazy globals evaluate their builtin (from a code cache) when they are first read.
// Names with a capital first letter are not enumerable, the others are.
"use strict";
return {
  eager: {
    fetch: ["Headers", "Request", "Response", "fetch"],
    console: ["console"],
    microtask: ["queueMicrotask", "self"],
    url: ["URL"],
    url_search_params: ["URLSearchParams"],
  },
  lazy: {
    timers: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"],
    clone: ["structuredClone"],
    abort: ["AbortController", "AbortSignal"],
    base64: ["atob", "btoa"],
    blob: ["Blob", "File"],
    crypto: ["crypto", "Crypto"],
    crypto_subtle: ["CryptoKey", "SubtleCrypto"],
    dom_exception: ["DOMException"],
    event_kinds: ["CloseEvent", "ErrorEvent", "MessageEvent", "PromiseRejectionEvent"],
    events: ["CustomEvent", "Event", "EventTarget", "addEventListener", "dispatchEvent", "removeEventListener"],
    form_data: ["FormData"],
    navigator: ["navigator", "Navigator", "scheduler", "Scheduler"],
    performance: ["performance", "Performance"],
    readable: ["ReadableStream", "ReadableStreamDefaultController", "ReadableStreamDefaultReader"],
    readable_byob: ["ReadableStreamBYOBReader"],
    readable_bytes: ["ReadableByteStreamController", "ReadableStreamBYOBRequest"],
    report: ["reportError"],
    strategies: ["ByteLengthQueuingStrategy", "CountQueuingStrategy"],
    text: ["TextDecoder", "TextEncoder"],
    text_streams: ["TextDecoderStream", "TextEncoderStream"],
    transform: ["TransformStream", "TransformStreamDefaultController"],
    writable: ["WritableStream", "WritableStreamDefaultController", "WritableStreamDefaultWriter"],
  },
};
