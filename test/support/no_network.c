// Copyright 2026 The kgnpro_ros Authors
// SPDX-License-Identifier: Apache-2.0
//
// Preloaded by test_no_network.py: writes down, and refuses, each attempt of a process to reach
// another machine, whatever language it is made in. The file NETWORK_LOG gets a line for each.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *call, const char *target) {
  char line[512];
  int size = snprintf(line, sizeof line, "%s %s\n", call, target);
  int file = open(getenv("NETWORK_LOG"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (file < 0 || write(file, line, (size_t)size) != size) abort();
  close(file);
}

static int refused(const char *call, const struct sockaddr *address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address == NULL) return 0;
  if (address->sa_family == AF_INET) {
    const struct in_addr *v4 = &((const struct sockaddr_in *)address)->sin_addr;
    if ((ntohl(v4->s_addr) >> 24) == 127) return 0;
    inet_ntop(AF_INET, v4, text, sizeof text);
  } else if (address->sa_family == AF_INET6) {
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
    if (IN6_IS_ADDR_LOOPBACK(v6)) return 0;
    inet_ntop(AF_INET6, v6, text, sizeof text);
  } else {
    return 0;
  }
  note(call, text);
  errno = ENETUNREACH;
  return 1;
}

int connect(int fd, const struct sockaddr *address, socklen_t size) {
  int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
  return refused("connect", address) ? -1 : next(fd, address, size);
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *address,
               socklen_t size) {
  ssize_t (*next)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) =
      dlsym(RTLD_NEXT, "sendto");
  return refused("sendto", address) ? -1 : next(fd, data, length, flags, address, size);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  ssize_t (*next)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");
  return refused("sendmsg", message->msg_name) ? -1 : next(fd, message, flags);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **result) {
  int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
      dlsym(RTLD_NEXT, "getaddrinfo");
  if (node == NULL || strcmp(node, "localhost") == 0 || strncmp(node, "127.", 4) == 0)
    return next(node, service, hints, result);
  note("getaddrinfo", node);
  return EAI_FAIL;
}
