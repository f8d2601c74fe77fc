#ifndef SOFTSNAP_NVME_H
#define SOFTSNAP_NVME_H

#include "layout.h"

#endif
