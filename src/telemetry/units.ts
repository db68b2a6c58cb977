// Numbers for people.

/** `12,345,678`. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** `2.265 Mpps`: four digits, and the unit with its prefix. */
export function rate(value: number, unit: string): string {
  const [scale, prefix] =
    value >= 1e9 ? [1e9, "G"] : value >= 1e6 ? [1e6, "M"] : value >= 1e3 ? [1e3, "k"] : [1, ""];
  return `${digits(value / scale)} ${prefix}${unit}`;
}

/** The same; a rate that is exactly 0 stands out when it is short. */
export function rateOr0(value: number, unit: string): string {
  return value === 0 ? "0" : rate(value, unit);
}

/** `850 ns`, `3.25 ns`, `32.5 µs`, `1.25 ms`. */
export function time(ns: number): string {
  if (ns >= 1e9) return `${digits(ns / 1e9, 3)} s`;
  if (ns >= 1e6) return `${digits(ns / 1e6, 3)} ms`;
  if (ns >= 1e4) return `${digits(ns / 1e3, 3)} µs`;
  return `${Number.isInteger(ns) ? ns : digits(ns, 3)} ns`;
}

/** `97.1 %`; never rounded to none or to all of it. */
export function percent(share: number): string {
  const value = share * 100;
  if (value > 0 && value < 0.1) return "<0.1 %";
  if (value > 99.9 && value < 100) return ">99.9 %";
  return `${value.toFixed(value === 0 || value === 100 ? 0 : 1)} %`;
}

function digits(value: number, significant = 4): string {
  const whole = Math.floor(Math.abs(value)).toString().length;
  return value.toFixed(Math.max(0, value < 1 ? significant - 1 : significant - whole));
}
