// ioctl(2) with its third argument as a structure or as a number.
import { check, libc } from "./native.ts";

// Fixed arguments where C has a variadic one: the same registers on x86-64.
const withStruct = libc.func("int ioctl(int, unsigned long, void *)");
const withNumber = libc.func("int ioctl(int, unsigned long, int64_t)");

/**
 * The call's result, never -1: a failure throws, with errno's name as its code. `name` is the ioctl's, `what` the
 * thing that `fd` is. The kernel reads and writes `argument` if it is a structure.
 */
export function ioctl(
  fd: number,
  request: { readonly name: string; readonly number: number },
  what: string,
  argument: Uint8Array | number = 0,
): number {
  const result =
    typeof argument === "number"
      ? withNumber(fd, request.number, argument)
      : withStruct(fd, request.number, argument);
  return check(result, `ioctl ${request.name}`, what);
}
