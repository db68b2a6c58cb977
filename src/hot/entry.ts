export { r32 } from "./mem.ts";
