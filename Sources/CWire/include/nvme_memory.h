#ifndef SOFTSNAP_NVME_MEMORY_H
#define SOFTSNAP_NVME_MEMORY_H

#include "layout.h"

#endif
