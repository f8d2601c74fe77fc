#include "function_memory.h"
#include "vhost_user.h"
#include "virtio.h"

// The headers assert their layouts; this file makes the compiler read them.
