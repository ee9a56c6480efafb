/* SPDX-License-Identifier: MIT
 *
 * An addon of the tests: what JavaScript cannot do by itself. It touches and calls plain
 * addresses, makes sockets, and sends a frame over the loopback device. Built by native-helper.ts;
 * a failure is a negative errno.
 */
#define _GNU_SOURCE
#include <node_api.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static napi_value number(napi_env env, int value) {
  napi_value result = NULL;
  (void)napi_create_int32(env, value, &result);
  return result;
}

static int count_arguments(napi_env env, napi_callback_info info, napi_value *argv, size_t max) {
  size_t argc = max;
  (void)napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  return argc == max;
}

static uint64_t address_of(napi_env env, napi_value value) {
  uint64_t address = 0;
  bool lossless = false;
  (void)napi_get_value_bigint_uint64(env, value, &address, &lossless);
  return address;
}

/* touch(address: bigint): number: adds 1 to the byte there, and tells what it holds then. */
static napi_value touch(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  if (!count_arguments(env, info, argv, 1)) return number(env, -EINVAL);
  volatile unsigned char *byte = (volatile unsigned char *)(uintptr_t)address_of(env, argv[0]);
  *byte = (unsigned char)(*byte + 1);
  return number(env, *byte);
}

/* call(address: bigint, a: number, b: number): number: runs the machine code there. */
static napi_value call(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  int32_t a = 0, b = 0;
  if (!count_arguments(env, info, argv, 3)) return number(env, -EINVAL);
  uintptr_t address = (uintptr_t)address_of(env, argv[0]);
  int (*function)(int, int);
  memcpy(&function, &address, sizeof function);
  (void)napi_get_value_int32(env, argv[1], &a);
  (void)napi_get_value_int32(env, argv[2], &b);
  return number(env, function(a, b));
}

/* packetRing(blockSize: number, blockCount: number): number: a descriptor of a packet socket on the
 * loopback device, with a ring for what it receives; frames are of 2048 bytes. */
static napi_value packet_ring(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  struct tpacket_req ring = {.tp_frame_size = 2048};
  if (!count_arguments(env, info, argv, 2)) return number(env, -EINVAL);
  (void)napi_get_value_uint32(env, argv[0], &ring.tp_block_size);
  (void)napi_get_value_uint32(env, argv[1], &ring.tp_block_nr);
  ring.tp_frame_nr = ring.tp_block_size / ring.tp_frame_size * ring.tp_block_nr;
  struct sockaddr_ll place = {
      .sll_family = AF_PACKET,
      .sll_protocol = htons(ETH_P_IP),
      .sll_ifindex = (int)if_nametoindex("lo"),
  };
  int version = TPACKET_V2;
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP));
  if (fd < 0) return number(env, -errno);
  if (place.sll_ifindex == 0 ||
      setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) != 0 ||
      setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) != 0 ||
      bind(fd, (struct sockaddr *)&place, sizeof place) != 0) {
    int error = errno;
    (void)close(fd);
    return number(env, -error);
  }
  return number(env, fd);
}

/* socket(kind: "unix" is 0, "udp" is 1): number: a descriptor. */
static napi_value make_socket(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int32_t kind = 0;
  if (!count_arguments(env, info, argv, 1)) return number(env, -EINVAL);
  (void)napi_get_value_int32(env, argv[0], &kind);
  int family = kind == 0 ? AF_UNIX : AF_INET;
  int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  return number(env, fd < 0 ? -errno : fd);
}

/* send(text: string): number: a datagram to this machine, which nobody need receive. */
static napi_value send_text(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  char text[256];
  size_t length = 0;
  if (!count_arguments(env, info, argv, 1)) return number(env, -EINVAL);
  (void)napi_get_value_string_utf8(env, argv[0], text, sizeof text, &length);
  struct sockaddr_in place = {
      .sin_family = AF_INET,
      .sin_port = htons(9),
      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
  };
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return number(env, -errno);
  ssize_t sent = sendto(fd, text, length, 0, (struct sockaddr *)&place, sizeof place);
  int error = sent < 0 ? -errno : (int)sent;
  (void)close(fd);
  return number(env, error);
}

NAPI_MODULE_INIT(/* napi_env env, napi_value exports */) {
  static const struct {
    const char *name;
    napi_callback call;
  } table[] = {
      {"touch", touch},        {"call", call},      {"packetRing", packet_ring},
      {"socket", make_socket}, {"send", send_text},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    const char *name = table[i].name;
    napi_value function = NULL;
    (void)napi_create_function(env, name, NAPI_AUTO_LENGTH, table[i].call, NULL, &function);
    (void)napi_set_named_property(env, exports, name, function);
  }
  return exports;
}
