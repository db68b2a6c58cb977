// Completion channels, as DPDK's mlx5 PMD arms and reads them: rx-interrupts.c.
import { join } from "node:path";
import { run } from "../../beds/command.ts";
import { bedState, repositoryRoot } from "../../beds/paths.ts";
import { type Check, expectAll } from "./check.ts";
import { Host } from "./host.ts";

async function build(): Promise<string> {
  const source = join(repositoryRoot, "test/softmlx5/verify/rx-interrupts.c");
  const program = join(bedState("softmlx5"), "rx-interrupts");
  const flags = await run("pkg-config", ["--cflags", "--libs", "libdpdk"]);
  await run("gcc", ["-O1", "-Wall", "-o", program, source, ...flags.trim().split(/\s+/)]);
  return program;
}

async function interrupts(devargs: string, rounds: number): Promise<string> {
  const program = await build();
  await using host = await Host.create({ ports: [{ wire: "loop" }] });
  const eal = ["--lcores", "0@0", "--no-huge", "-m", "256", "--iova-mode=va"];
  const device = ["-a", `${host.nic.ports[0]!.address},dv_flow_en=0,${devargs}`];
  const said = await host.run(program, [...eal, ...device, "--", `${rounds}`]);
  return expectAll(said, [new RegExp(`^${rounds} events$`, "m")]);
}

const ways = { "": "rxq_cqe_comp_en=0", ", compressed CQEs": "rxq_cqe_comp_en=1" };

export const interruptChecks: readonly Check[] = Object.entries(ways).map(([name, devargs]) => ({
  program: "DPDK's mlx5 PMD",
  name: `receive interrupts${name}`,
  run: ({ frames }) => interrupts(devargs, frames / 1000),
}));
