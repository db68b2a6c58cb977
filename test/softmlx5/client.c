// `client NAME`: one test of client.h. `client lint NAME`: one complaint of client-lints.c.
#include "client.h"

static const struct test {
  const char *name;
  void (*run)(void);
} tests[] = {
  {"cyclic", test_cyclic},
  {"striding", test_striding},
  {"compressed-hash", test_compressed_hash},
  {"compressed-checksum", test_compressed_checksum},
  {"compressed-hash-values", test_compressed_hash_values},
  {"compressed-checksum-values", test_compressed_checksum_values},
  {"compressed-striding", test_compressed_striding},
  {"compressed-striding-index", test_compressed_striding_index},
  {"errors", test_errors},
  {"lossless", test_lossless},
  {"events", test_events},
  {"mpsw", test_mpsw},
  {"tso", test_tso},
  {"vlan", test_vlan},
  {"checksums", test_checksums},
  {"chip", test_chip},
  {"rss", test_rss},
  {"rules", test_rules},
  {"counters", test_counters},
  {"loopback", test_loopback},
  {"link-send", test_link_send},
  {"link-receive", test_link_receive},
};

int main(int count, char **words) {
  if (count == 3 && strcmp(words[1], "lint") == 0) {
    test_lint(words[2]);
    _exit(0);                     // what is left open is not what this is about
  }
  for (size_t i = 0; count == 2 && i < sizeof tests / sizeof tests[0]; i++) {
    if (strcmp(tests[i].name, words[1]) != 0) continue;
    tests[i].run();
    printf("ok %s\n", words[1]);
    fflush(stdout);
    _exit(0);
  }
  fprintf(stderr, "client: which test?\n");
  return 2;
}
