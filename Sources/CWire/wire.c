#include "function_memory.h"
#include "nvme.h"
#include "nvme_identify.h"
#include "nvme_memory.h"
#include "nvmeof.h"
#include "pci.h"
#include "vfio_user.h"
#include "vhost_user.h"
#include "virtio.h"

// The headers assert their layouts; this file makes the compiler read them.
