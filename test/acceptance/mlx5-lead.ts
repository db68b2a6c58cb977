// The test's end of mlx5-node.ts: commands as calls, failures as values, events as a list.
import type { OwnedProcess } from "../beds/child.ts";
import type { SoftMlx5 } from "../beds/softmlx5.ts";
import { startOn } from "./mlx5.ts";
import type { NodeCommand } from "./mlx5-node.ts";
import { until } from "./support.ts";

export interface Failure {
  code: string;
  message: string;
  fix: string;
}

export type NodeEvent = { port: number } & (({ event: "error" } & Failure) | { event: "link"; up: boolean });

type Answer = { id: number; value?: unknown; error?: Failure };

const ANSWER_MS_MAX = 15_000;

export class Lead implements AsyncDisposable {
  readonly child: OwnedProcess;
  private next = 0;

  constructor(bed: SoftMlx5, options: object = {}, wrapper: string[] = []) {
    this.child = startOn(bed, "mlx5-node", options, wrapper);
  }

  /** What the command returned, or how it failed. */
  async try(command: NodeCommand, ...args: unknown[]): Promise<{ value?: unknown; error?: Failure }> {
    const id = this.next++;
    this.child.write(`${JSON.stringify({ id, command, args })}\n`);
    await this.child.waitFor(new RegExp(`^\\{"id":${id},.*\\}$`, "m"), ANSWER_MS_MAX);
    return this.lines().find((line): line is Answer => "id" in line && line.id === id)!;
  }

  /** What the command returned; throws its failure. */
  async ask<T>(command: NodeCommand, ...args: unknown[]): Promise<T> {
    const { value, error } = await this.try(command, ...args);
    if (error) throw this.child.error(`${command}: ${error.code}: ${error.message}`);
    return value as T;
  }

  get events(): NodeEvent[] {
    return this.lines().filter((line): line is NodeEvent => "port" in line);
  }

  /** Waits for an event that `isIt`, and returns it. */
  async event(what: string, isIt: (event: NodeEvent) => boolean): Promise<NodeEvent> {
    await until(what, () => this.events.some(isIt) || this.child.status !== undefined, 5_000);
    const found = this.events.find(isIt);
    if (!found) throw this.child.error(`ended before ${what}`);
    return found;
  }

  /** Closes the engine: its exit code, which is not 0 where the emulator complained. */
  async end(): Promise<number | null> {
    this.child.endInput();
    return (await this.child.endWithin(ANSWER_MS_MAX)).code;
  }

  private lines(): (Answer | NodeEvent | { event: "closed" })[] {
    const whole = this.child.stdout.split("\n").slice(0, -1);
    return whole.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child.kill();
  }
}
