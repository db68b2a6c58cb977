// rdma-core's own tests (Python, over pyverbs), as Debian packages them: compressed, among the documentation of
// python3-pyverbs, which a small installation leaves out. So they are taken from the package's file.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { aptDownload, run } from "../../beds/command.ts";
import { bedState } from "../../beds/paths.ts";
import { type Check, expect } from "./check.ts";
import { Host } from "./host.ts";
import { python } from "./wire.ts";

const folder = () => join(bedState("softmlx5"), "rdma-core-tests");

// Not among them: modules whose tests are all of queue pairs that the emulator has not (RC, UC, UD, XRC, DC, SRQ), of
// DevX or of device memory, and skip themselves; test_mlx5_huge_page, which errs instead, its RC queue pair refused.
interface Group {
  name: string;
  /** Modules of rdma-core's tests, and which of their tests an Ethernet port with raw packet queues must pass. */
  modules: Readonly<Record<string, readonly string[]>>;
}

const groups: readonly Group[] = [
  {
    name: "objects",
    modules: {
      test_cq: ["test_create_cq", "test_create_cq_bad_flow", "test_create_cq_with_comp_channel"],
      test_cqex: ["test_create_cq_ex", "test_create_cq_ex_bad_flow"],
      test_device: [
        "test_dev_list",
        "test_open_dev",
        "test_query_device",
        "test_query_device_ex",
        "test_query_gid",
        "test_query_port",
      ],
      test_pd: ["test_alloc_pd", "test_dealloc_pd", "test_destroy_pd_twice", "test_multiple_pd_creation"],
      test_qp: [
        "test_create_raw_qp_no_attr",
        "test_create_raw_qp_with_attr",
        "test_create_raw_qp_ex_no_attr",
        "test_create_raw_qp_ex_with_attr",
        "test_create_raw_qp_ex_with_illegal_caps_max_recv_sge",
        "test_create_raw_qp_ex_with_illegal_caps_max_recv_wr",
        "test_create_raw_qp_ex_with_illegal_caps_max_send_sge",
        "test_create_raw_qp_ex_with_illegal_caps_max_send_wr",
        "test_query_raw_qp",
      ],
      test_mr: ["test_reg_mr_bad_flags"],
      test_mlx5_cq: ["test_dv_cq_cqe_size_with_bad_size"],
      test_mlx5_uar: ["test_alloc_uar"],
      test_mlx5_query_port: [],
    },
  },
  {
    name: "traffic",
    modules: {
      test_flow: [
        "test_eth_spec_flow_traffic",
        "test_ipv4_spec_flow_traffic",
        "test_ipv6_spec_flow_traffic",
        "test_tcp_spec_flow_traffic",
        "test_udp_spec_flow_traffic",
      ],
      test_rss_traffic: ["test_rss_traffic"],
      test_mlx5_flow: [
        "test_create_empty_matcher",
        "test_create_smac_matcher",
        "test_smac_matcher_to_qp_flow",
      ],
      test_mlx5_timestamp: [
        "test_query_rt_values",
        "test_timestamp_free_running_recv_raw_traffic",
        "test_timestamp_free_running_send_raw_traffic",
        "test_timestamp_real_time_raw_traffic",
      ],
    },
  },
];

/** Unpacks the tests, once. */
export async function unpackTests(): Promise<void> {
  if (existsSync(folder())) return;
  const scratch = `${folder()}.part`;
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch, { recursive: true });
  await aptDownload(["python3-pyverbs"], scratch);
  const [file] = readdirSync(scratch);
  await run("dpkg-deb", ["-x", join(scratch, file!), scratch]);
  const tests = join(scratch, "usr/share/doc/rdma-core/tests");
  await run("gunzip", ["-r", tests]);
  renameSync(tests, folder());
  rmSync(scratch, { recursive: true, force: true });
}

/** Results by test, from unittest's verbose lines: `test_x (tests.test_y.Z.test_x) ... ok`, the result at the end. */
function resultsOf(words: string): Map<string, string> {
  const results = new Map<string, string>();
  for (const [, name, result] of words.matchAll(
    /^(test_\w+) \([^)]*\)[\s\S]*?\.\.\. ?(?:[^\n]*?)(ok|FAIL|ERROR|skipped .*)$/gm,
  ))
    results.set(name!, result!);
  return results;
}

async function pyverbs({ modules }: Group): Promise<string> {
  await using host = await Host.create();
  const names = Object.keys(modules).map((module) => `tests.${module}`);
  // unittest writes its report to stderr, and its status is a check of its own
  const line = `${python} ${folder()}/run_tests.py --dev mlx5_0 -v ${names.join(" ")} 2>&1; echo status $?`;
  const said = await host.run("sh", ["-c", line]);
  const results = resultsOf(said);
  const failed = [...results].filter(([, result]) => /FAIL|ERROR/.test(result));
  expect(/^status 0$/m.test(said) && failed.length === 0, `failed: ${failed.join(" ")}`, said);
  const wanted = Object.values(modules).flat();
  for (const name of wanted) expect(results.get(name) === "ok", `${name}: ${results.get(name)}`, said);
  const skipped = [...results.values()].filter((result) => result.startsWith("skipped")).length;
  const passed = [...results.values()].filter((result) => result === "ok").length;
  return `${passed} ok, among them the ${wanted.length} that must be; ${skipped} skip themselves: not raw packets`;
}

export const pyverbsChecks: readonly Check[] = groups.map((group) => ({
  program: "rdma-core's tests",
  name: group.name,
  run: () => pyverbs(group),
}));
