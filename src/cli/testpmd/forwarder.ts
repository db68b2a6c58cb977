// What is forwarded now: lcores started by a plan, kept running while others change, stopped.
import type { Pollmode } from "../../pollmode.ts";
import type { ForwardConfig } from "./config.ts";
import { FwdStats } from "./fwd-stats.ts";
import { flushQueues, launchLcore, sendFirst } from "./launch.ts";
import { type LcorePlan, makePlan, type Plan, workOf } from "./topology.ts";

interface Running {
  readonly plan: Plan;
  readonly config: ForwardConfig;
}

export class Forwarder {
  readonly stats: FwdStats;
  private readonly engine: Pollmode;
  private running: Running | undefined;

  constructor(engine: Pollmode) {
    this.engine = engine;
    this.stats = new FwdStats(engine);
  }

  get active(): boolean {
    return this.running !== undefined;
  }

  /** The lcores that forward now. */
  get lcores(): readonly LcorePlan[] {
    return this.running?.plan.lcores ?? [];
  }

  forwards(port: number): boolean {
    return this.running?.plan.ports.includes(port) ?? false;
  }

  /** `ready` is called when the queues are empty, just before packets are counted. */
  async start(config: ForwardConfig, txFirst: number, ready: () => void): Promise<void> {
    const plan = makePlan(config);
    if (config.flushRx) await flushQueues(this.engine, plan.lcores, config.burst);
    ready();
    this.stats.begin(plan);
    if (txFirst > 0) {
      const lost = await sendFirst(this.engine, plan.lcores, config, txFirst);
      for (const [stream, packets] of lost) this.stats.addDropped(stream, packets);
    }
    await this.launch(plan.lcores, config);
    this.running = { plan, config };
  }

  /** All of these lcores or none. */
  private async launch(lcores: readonly LcorePlan[], config: ForwardConfig): Promise<void> {
    const launched: LcorePlan[] = [];
    try {
      for (const lcore of lcores) {
        await launchLcore(this.engine, lcore, config);
        launched.push(lcore);
      }
    } catch (error) {
      await this.halt(launched);
      throw error;
    }
  }

  /** Stops lcores and takes over their counts. One that does not stop holds up no other. */
  private async halt(lcores: readonly LcorePlan[]): Promise<void> {
    const stops = await Promise.allSettled(lcores.map(({ lcore }) => this.engine.stop(lcore)));
    this.stats.collect(lcores.filter((_, k) => stops[k]!.status === "fulfilled"));
    const failed = stops.find((stop) => stop.status === "rejected");
    if (failed) throw failed.reason;
  }

  async stop(): Promise<void> {
    const { lcores } = this;
    this.running = undefined;
    await this.halt(lcores);
  }

  /**
   * Forwards as `config` says from now on. Lcores whose work stays the same run on; the others are stopped together
   * and then launched, for queues may go from one to another. What fails leaves everything as it was.
   */
  async change(config: ForwardConfig): Promise<void> {
    const before = this.running;
    if (before === undefined) return;
    const plan = makePlan(config);
    const works = new Map(plan.lcores.map((lcore) => [lcore.lcore, workOf(lcore, config)]));
    const kept = (lcore: LcorePlan) => works.get(lcore.lcore) === workOf(lcore, before.config);
    const ending = before.plan.lcores.filter((lcore) => !kept(lcore));
    const stays = new Set(before.plan.lcores.filter(kept).map(({ lcore }) => lcore));
    const beginning = plan.lcores.filter(({ lcore }) => !stays.has(lcore));
    await this.halt(ending);
    // what they counted is taken over, and must not be counted again before others count in its place
    const lcores = before.plan.lcores.filter(({ lcore }) => stays.has(lcore));
    this.running = { ...before, plan: { ...before.plan, lcores } };
    this.stats.follow(plan, beginning);
    try {
      await this.launch(beginning, config);
    } catch (error) {
      this.stats.follow(before.plan, ending);
      try {
        await this.launch(ending, before.config);
      } finally {
        this.running = before; // also where that fails: what runs all the same is to be stopped some day
      }
      throw error;
    }
    this.running = { plan, config };
  }
}
