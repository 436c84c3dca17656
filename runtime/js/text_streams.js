// TextEncoderStream and TextDecoderStream: the Encoding standard's transforms over a pair of our own streams.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { TextDecoder } = lethe.use("text");
const { createPair } = lethe.use("transform");
const decode = p.uncurry(TextDecoder.prototype.decode);

function isHigh(code) {
  return code >= 0xd800 && code <= 0xdbff;
}

class TextEncoderStream {
  #pair;
  constructor() {
    // A high surrogate at the end of a chunk waits for its partner in the next one.
    let high = "";
    this.#pair = createPair(
      (chunk, put) => {
        let text = high + idl.domString(chunk);
        high = "";
        const last = text.length - 1;
        if (last >= 0 && isHigh(p.charCodeAt(text, last))) {
          high = p.stringSlice(text, last);
          text = p.stringSlice(text, 0, last);
        }
        if (text !== "") put(lethe.ops.utf8Encode(text));
      },
      (put) => {
        if (high !== "") put(lethe.ops.utf8Encode(high));
      },
    );
  }
  get encoding() {
    this.#pair;
    return "utf-8";
  }
  get readable() {
    return this.#pair.readable;
  }
  get writable() {
    return this.#pair.writable;
  }
}
idl.iface(TextEncoderStream, "TextEncoderStream");

class TextDecoderStream {
  #pair;
  #encoding;
  #fatal;
  #ignoreBOM;
  constructor(label = "utf-8", options = undefined) {
    const decoder = new TextDecoder(label, options);
    this.#encoding = decoder.encoding;
    this.#fatal = decoder.fatal;
    this.#ignoreBOM = decoder.ignoreBOM;
    const streaming = { __proto__: null, stream: true };
    this.#pair = createPair(
      (chunk, put) => {
        const text = decode(decoder, idl.bufferSource(chunk, "TextDecoderStream: the chunk"), streaming);
        if (text !== "") put(text);
      },
      (put) => {
        const text = decode(decoder);
        if (text !== "") put(text);
      },
    );
  }
  get encoding() {
    return this.#encoding;
  }
  get fatal() {
    return this.#fatal;
  }
  get ignoreBOM() {
    return this.#ignoreBOM;
  }
  get readable() {
    return this.#pair.readable;
  }
  get writable() {
    return this.#pair.writable;
  }
}
idl.iface(TextDecoderStream, "TextDecoderStream");

return { TextEncoderStream, TextDecoderStream };
