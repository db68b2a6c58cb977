// A session that does nothing but write down what it was asked for.

import type { Session } from "../../../../src/cli/testpmd/session.ts";
import type { Devargs } from "../../../../src/eal/devargs.ts";
import type { FlowRule } from "../../../../src/ethdev/flow.ts";
import { PortFlow } from "../../../../src/ethdev/port-flow.ts";

export interface FakeSession {
  readonly session: Session;
  /** `setBurst 64`: methods and their arguments, in order. */
  readonly calls: string[];
  /** Flow rules that port 0 was given. */
  readonly rules: FlowRule[];
}

function show(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (isDevargs(value)) {
    const { driver, name, args } = value;
    return `${driver} ${name} ${[...args].map(([key, word]) => `${key}=${word}`).join()}`;
  }
  return typeof value === "object" ? JSON.stringify(value, (_, one) => plain(one)) : String(value);
}

function isDevargs(value: unknown): value is Devargs {
  return typeof value === "object" && value !== null && "driver" in value && "args" in value;
}

function plain(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
}

/** Ports 0 and 1; port 0 has flow rules, port 1 is net_rdma's, and both have a redirection table. */
export function fakeSession(): FakeSession {
  const calls: string[] = [];
  const rules: FlowRule[] = [];
  const device = {
    validate: () => {},
    create: (rule: FlowRule) => rules.push(rule),
    destroy: () => calls.push("flow destroy"),
    query: () => ({ hits: 3, bytes: 180 }),
    isolate: (on: boolean) => calls.push(`flow isolate ${on}`),
  };
  const ports = [0, 1].map((id) => ({
    id,
    name: id === 1 ? "rdma-0" : "net_fake0",
    info: { driver: id === 1 ? "net_rdma" : "net_fake" },
    flow: new PortFlow(() => ({
      title: `port ${id} (net_fake${id})`,
      driver: "net_fake",
      device: id === 0 ? (device as never) : undefined,
      rxQueues: 2,
    })),
    rss: () => ({ key: new Uint8Array(40), types: ["ipv4"], table: [0, 1, 0, 1] }),
  }));
  const known: Record<string, unknown> = {
    engine: { ports },
    ports: {
      all: ports,
      get: (id: number) => ports[id],
      chosen: (id: number | "all") => (id === "all" ? ports : [ports[id]]),
    },
    status: () => "stopped",
    config: { portlist: [0, 1], corelist: [1], csum: new Map() },
  };
  const session = new Proxy(known, {
    get(target, name: string) {
      if (name in target) return target[name];
      return async (...values: unknown[]) => void calls.push([name, ...values.map(show)].join(" "));
    },
  });
  return { session: session as unknown as Session, calls, rules };
}
