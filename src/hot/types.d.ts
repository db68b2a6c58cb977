// The number types of the intersection of TypeScript and AssemblyScript. For tsc they are plain numbers;
// asc knows them as built-in types and never sees this file.
declare type u32 = number;
declare type f64 = number;

// The part of the WebAssembly interface that is used here; @types/node leaves it to the browser's library.
declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { initial: number; maximum: number; shared: boolean });
    readonly buffer: SharedArrayBuffer;
  }
  class Module {
    constructor(bytes: Uint8Array);
    static imports(module: Module): { module: string; name: string; kind: string }[];
    static exports(module: Module): { name: string; kind: string }[];
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>);
    readonly exports: Record<string, unknown>;
  }
  class RuntimeError extends Error {}
}
