// TextEncoder, TextDecoder, their streams, atob and btoa.
const thrown = (f) => {
  try {
    return f();
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};
const bytes = (...list) => new Uint8Array(list);

export default {
  async fetch() {
    const encoder = new TextEncoder();
    console.log(encoder.encoding, encoder.encode().length, encoder.encode("a\u20ac\ud83d\ude00\ud800").join());
    const room = new Uint8Array(5);
    console.log(
      JSON.stringify(encoder.encodeInto("a\u20ac\ud83d\ude00", room)),
      room.join(),
      JSON.stringify(encoder.encodeInto("xyz", room.subarray(4))),
      room.join(),
    );
    console.log(
      thrown(() => encoder.encodeInto("a", new Uint16Array(2))),
      thrown(() => encoder.encodeInto("a")),
    );

    const decoder = new TextDecoder();
    console.log(
      decoder.encoding,
      decoder.fatal,
      decoder.ignoreBOM,
      JSON.stringify(decoder.decode()),
      decoder.decode(bytes(0xe2, 0x82, 0xac)),
    );
    console.log(
      JSON.stringify(decoder.decode(bytes(0xef, 0xbb, 0xbf, 0x61))),
      new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes(0xef, 0xbb, 0xbf, 0x61)).length,
    );
    console.log(
      JSON.stringify(decoder.decode(bytes(0xff, 0x61, 0xe2, 0x82))),
      thrown(() => new TextDecoder("utf-8", { fatal: true }).decode(bytes(0xff))),
    );
    const streaming = new TextDecoder();
    console.log(
      [bytes(0xe2), bytes(0x82), bytes(0xac, 0x21)]
        .map((chunk) => JSON.stringify(streaming.decode(chunk, { stream: true })))
        .join(),
      JSON.stringify(streaming.decode()),
    );
    streaming.decode(bytes(0xe2), { stream: true });
    console.log("an incomplete end:", JSON.stringify(streaming.decode()), "then fresh:", streaming.decode(bytes(0x62)));
    const marked = new TextDecoder();
    const pieces = [bytes(0xef), bytes(0xbb), bytes(0xbf, 0x61), bytes(0xef, 0xbb, 0xbf), bytes(0xe0, 0x80), bytes()];
    console.log("marks:", JSON.stringify(pieces.map((piece) => marked.decode(piece, { stream: true }))), marked.decode(bytes(0x7a)));
    const japanese = new TextDecoder("iso-2022-jp");
    const shifted = [bytes(0x1b, 0x24), bytes(0x42, 0x24), bytes(0x22)].map((chunk) => japanese.decode(chunk, { stream: true }));
    console.log("modes:", JSON.stringify(shifted), JSON.stringify(japanese.decode()));
    for (let i = 0; i < 2000; i++) new TextDecoder("big5").decode(bytes(0xa7), { stream: true });
    console.log("abandoned decoders cost nothing:", new TextDecoder("gbk").decode(bytes(0xc4), { stream: true }).length);
    japanese.decode(bytes(0x1b), { stream: true });
    for (let i = 0; i < 1000; i++) new TextDecoder("big5").decode(bytes(0xa7), { stream: true });
    console.log(thrown(() => japanese.decode(bytes(0x24))), japanese.decode(bytes(0x61)));
    const strict = new TextDecoder("utf-8", { fatal: true });
    strict.decode(bytes(0xe2), { stream: true });
    console.log(
      thrown(() => strict.decode()),
      strict.decode(bytes(0x63)),
    );
    for (const [label, ...input] of [
      ["latin1", 0x80, 0xe9],
      ["UTF-16", 0x61, 0x00, 0x3d, 0xd8],
      ["utf-16be", 0x00, 0x61],
      [" Shift_JIS\n", 0x83, 0x65],
      ["gbk", 0xc4, 0xe3],
      ["big5", 0xa7, 0x41],
      ["euc-kr", 0xb0, 0xa1],
      ["iso-2022-jp", 0x1b, 0x24, 0x42, 0x24, 0x22],
      ["koi8-r", 0xc1],
      ["x-user-defined", 0x80],
      ["windows-1251", 0xcf],
    ]) {
      console.log(
        JSON.stringify(label),
        new TextDecoder(label).encoding,
        JSON.stringify(new TextDecoder(label).decode(bytes(...input))),
      );
    }
    for (const label of ["nope", "", "utf-7", "replacement", "iso-2022-kr"])
      console.log(
        JSON.stringify(label),
        thrown(() => new TextDecoder(label)),
      );
    console.log(
      decoder.decode(bytes(97, 98).buffer),
      decoder.decode(new DataView(bytes(97, 98).buffer, 1)),
      thrown(() => decoder.decode("text")),
    );

    const encoded = ReadableStream.from(["a\ud83d", "\ude00", "", "\ud800"]).pipeThrough(new TextEncoderStream());
    const chunks = [];
    for await (const chunk of encoded) chunks.push(chunk.join("."));
    console.log("TextEncoderStream:", chunks.join());
    const decoded = ReadableStream.from([
      bytes(0xef, 0xbb),
      bytes(0xbf, 0xe2, 0x82),
      bytes(0xac),
      bytes(0xe2),
    ]).pipeThrough(new TextDecoderStream());
    const texts = [];
    for await (const text of decoded) texts.push(text);
    console.log("TextDecoderStream:", JSON.stringify(texts));
    const failing = ReadableStream.from([bytes(0xff)]).pipeThrough(new TextDecoderStream("utf-8", { fatal: true }));
    console.log(
      await failing
        .getReader()
        .read()
        .catch((reason) => reason.name),
      new TextDecoderStream("latin1").encoding,
    );

    console.log(
      btoa("a\u00ff"),
      btoa(""),
      atob(" Y\nQ = = "),
      atob("YWI"),
      JSON.stringify(atob("")),
      btoa(null),
      thrown(() => btoa("\u0100")),
    );
    for (const text of ["a", "ab=", "a-b_", "====", "YQ==="])
      console.log(
        JSON.stringify(text),
        thrown(() => atob(text)),
      );
    try {
      atob("*");
    } catch (error) {
      console.log(error instanceof DOMException, error.code);
    }
    return new Response("done");
  },
};
