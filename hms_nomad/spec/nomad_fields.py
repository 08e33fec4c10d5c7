"""The fields of a job in Nomad's API, section by section, with their HCL names: what the escape hatch may write.

A job as JSON loses a field that Nomad does not know without a word, so the escape hatch takes those that stand here.
"""

from __future__ import annotations

import re
from functools import cache

from msgspec import Struct

_TABLE: dict[str, str] = {
    "Job": (
        "Region:s Namespace:s ID:s Name:s Type:s Priority:i AllAtOnce:b Datacenters:l NodePool:s "
        "Constraints=constraint:*Constraint Affinities=affinity:*Affinity TaskGroups=group:*TaskGroup "
        "Update:>UpdateStrategy Multiregion:>Multiregion Spreads=spread:*Spread Periodic:>PeriodicConfig "
        "ParameterizedJob=parameterized:>ParameterizedJobConfig Reschedule:>ReschedulePolicy Migrate:>MigrateStrategy "
        "Meta:m UI:>JobUIConfig"
    ),
    "Constraint": "LTarget=attribute:s RTarget=value:s Operand=operator:s",
    "Affinity": "LTarget=attribute:s RTarget=value:s Operand=operator:s Weight:i",
    "TaskGroup": (
        "Name:# Count:i Constraints=constraint:*Constraint Affinities=affinity:*Affinity Tasks=task:*Task "
        "Spreads=spread:*Spread Volumes=volume:%VolumeRequest RestartPolicy=restart:>RestartPolicy "
        "Disconnect:>DisconnectStrategy ReschedulePolicy=reschedule:>ReschedulePolicy EphemeralDisk:>EphemeralDisk "
        "Update:>UpdateStrategy Migrate:>MigrateStrategy Networks=network:*NetworkResource Meta:m "
        "Services=service:*Service ShutdownDelay:d StopAfterClientDisconnect:d MaxClientDisconnect:d "
        "Scaling:>ScalingPolicy Consul:>Consul PreventRescheduleOnLost:b"
    ),
    "UpdateStrategy": (
        "Stagger:d MaxParallel:i HealthCheck:s MinHealthyTime:d HealthyDeadline:d ProgressDeadline:d Canary:i "
        "AutoRevert:b AutoPromote:b"
    ),
    "Multiregion": "Strategy:>MultiregionStrategy Regions=region:*MultiregionRegion",
    "Spread": "Attribute:s Weight:i SpreadTarget=target:*SpreadTarget",
    "PeriodicConfig": "Enabled:b Spec=cron:s Specs=crons:l ProhibitOverlap:b TimeZone:s",
    "ParameterizedJobConfig": "Payload:s MetaRequired:l MetaOptional:l",
    "ReschedulePolicy": "Attempts:i Interval:d Delay:d DelayFunction:s MaxDelay:d Unlimited:b",
    "MigrateStrategy": "MaxParallel:i HealthCheck:s MinHealthyTime:d HealthyDeadline:d",
    "JobUIConfig": "Description:s Links=link:*JobUILink",
    "Task": (
        "Name:# Driver:s User:s Lifecycle:>TaskLifecycle Config:a Constraints=constraint:*Constraint "
        "Affinities=affinity:*Affinity Env:m Services=service:*Service Resources:>Resources "
        "RestartPolicy=restart:>RestartPolicy Meta:m KillTimeout:d LogConfig=logs:>LogConfig "
        "Artifacts=artifact:*TaskArtifact Vault:>Vault Consul:>Consul Templates=template:*Template "
        "DispatchPayload:>DispatchPayloadConfig VolumeMounts=volume_mount:*VolumeMount "
        "CSIPluginConfig=csi_plugin:>TaskCSIPluginConfig Leader:b ShutdownDelay:d KillSignal:s Kind:s "
        "Secrets=secret:*Secret Identities=identity:*WorkloadIdentity Actions=action:*Action Schedule:>TaskSchedule"
    ),
    "VolumeRequest": (
        "Name:# Type:s Source:s ReadOnly:b Sticky:b AccessMode:s AttachmentMode:s MountOptions:>CSIMountOptions "
        "PerAlloc:b"
    ),
    "RestartPolicy": "Interval:d Attempts:i Delay:d Mode:s RenderTemplates:b",
    "DisconnectStrategy": "LostAfter:d StopOnClientAfter:d Replace:b Reconcile:s",
    "EphemeralDisk": "Sticky:b Migrate:b SizeMB=size:i",
    "NetworkResource": (
        "Mode:s DNS:>DNSConfig ReservedPorts=port:*Port DynamicPorts=port:*Port Hostname:s CNI:>CNIConfig"
    ),
    "Service": (
        "Name:s Tags:l CanaryTags:l EnableTagOverride:b PortLabel=port:s AddressMode:s Address:s "
        "Checks=check:*ServiceCheck CheckRestart:>CheckRestart Connect:>ConsulConnect Meta:m CanaryMeta:m "
        "TaggedAddresses:m TaskName=task:s OnUpdate:s Identity:>WorkloadIdentity Weights:>ServiceWeights Provider:s "
        "Cluster:s Kind:s"
    ),
    "ScalingPolicy": "Min:i Max:i Policy:a Enabled:b Type:s",
    "Consul": "Namespace:s Cluster:s Partition:s",
    "MultiregionStrategy": "MaxParallel:i OnFailure:s",
    "MultiregionRegion": "Name:# Count:i Datacenters:l NodePool:s Meta:m",
    "SpreadTarget": "Value:# Percent:i",
    "JobUILink": "Label:s Url:s",
    "TaskLifecycle": "Hook:s Sidecar:b",
    "Resources": (
        "CPU:i Cores:i MemoryMB=memory:i MemoryMaxMB=memory_max:i DiskMB=disk:i Devices=device:*RequestedDevice "
        "NUMA:>NUMAResource SecretsMB=secrets:i"
    ),
    "LogConfig": "MaxFiles:i MaxFileSizeMB=max_file_size:i Enabled:b Disabled:b",
    "TaskArtifact": (
        "GetterSource=source:s GetterOptions=options:m GetterHeaders=headers:m GetterMode=mode:s "
        "GetterInsecure=insecure:b RelativeDest=destination:s Chown:b"
    ),
    "Vault": (
        "Policies:l Role:s Namespace:s Cluster:s Env:b DisableFile:b ChangeMode:s ChangeSignal:s AllowTokenExpiration:b"
    ),
    "Template": (
        "SourcePath=source:s DestPath=destination:s EmbeddedTmpl=data:s ChangeMode:s ChangeScript:>ChangeScript "
        "ChangeSignal:s Once:b Splay:d Perms:s Uid:i Gid:i LeftDelim=left_delimiter:s RightDelim=right_delimiter:s "
        "Envvars=env:b Wait:>WaitConfig ErrMissingKey=error_on_missing_key:b"
    ),
    "DispatchPayloadConfig": "File:s",
    "VolumeMount": "Volume:s Destination:s ReadOnly:b PropagationMode:s SELinuxLabel:s",
    "TaskCSIPluginConfig": "ID:s Type:s MountDir:s StagePublishBaseDir:s HealthTimeout:d",
    "Secret": "Name:# Provider:s Path:s Config:a Env:m",
    "WorkloadIdentity": (
        "Name:s Audience=aud:l ChangeMode:s ChangeSignal:s Env:b File:b Filepath:s ServiceName:s TTL:d"
    ),
    "Action": "Name:# Command:s Args:l",
    "TaskSchedule": "Cron:>TaskScheduleCron",
    "CSIMountOptions": "FSType=fs_type:s MountFlags:l",
    "DNSConfig": "Servers:l Searches:l Options:l",
    "Port": "Label:# Value=static:i To:i HostNetwork:s IgnoreCollision:b",
    "CNIConfig": "Args:m",
    "ServiceCheck": (
        "Name:s Type:s Command:s Args:l Path:s Protocol:s PortLabel=port:s Expose:b AddressMode:s Advertise:s "
        "Interval:d Timeout:d InitialStatus:s Notes:s TLSServerName=tls_server_name:s TLSSkipVerify=tls_skip_verify:b "
        "Header:h Method:s CheckRestart:>CheckRestart GRPCService=grpc_service:s GRPCUseTLS=grpc_use_tls:b "
        "TaskName=task:s SuccessBeforePassing:i FailuresBeforeCritical:i FailuresBeforeWarning:i Body:s OnUpdate:s"
    ),
    "CheckRestart": "Limit:i Grace:d IgnoreWarnings:b",
    "ConsulConnect": ("Native:b Gateway:>ConsulGateway SidecarService:>ConsulSidecarService SidecarTask:>SidecarTask"),
    "ServiceWeights": "Passing:i Warning:i",
    "RequestedDevice": "Name:# Count:i Constraints=constraint:*Constraint Affinities=affinity:*Affinity",
    "NUMAResource": "Affinity:s Devices:l",
    "ChangeScript": "Command:s Args:l Timeout:d FailOnError:b",
    "WaitConfig": "Min:d Max:d",
    "TaskScheduleCron": "Start:s End:s Timezone:s",
    "ConsulGateway": (
        "Proxy:>ConsulGatewayProxy Ingress:>ConsulIngressConfigEntry Terminating:>ConsulTerminatingConfigEntry "
        "Mesh:>ConsulMeshConfigEntry"
    ),
    "ConsulSidecarService": (
        "Tags:l Port:s Proxy:>ConsulProxy DisableDefaultTCPCheck=disable_default_tcp_check:b Meta:m"
    ),
    "SidecarTask": (
        "Name:s Driver:s User:s Config:a Env:m Resources:>Resources Meta:m KillTimeout:d LogConfig=logs:>LogConfig "
        "ShutdownDelay:d KillSignal:s VolumeMounts=volume_mount:*VolumeMount"
    ),
    "ConsulGatewayProxy": (
        "ConnectTimeout:d EnvoyGatewayBindTaggedAddresses:b EnvoyGatewayBindAddresses:%ConsulGatewayBindAddress "
        "EnvoyGatewayNoDefaultBind:b EnvoyDNSDiscoveryType=envoy_dns_discovery_type:s Config:a"
    ),
    "ConsulIngressConfigEntry": "TLS:>ConsulGatewayTLSConfig Listeners=listener:*ConsulIngressListener",
    "ConsulTerminatingConfigEntry": "Services=service:*ConsulLinkedService",
    "ConsulMeshConfigEntry": "",
    "ConsulProxy": (
        "LocalServiceAddress:s LocalServicePort:i Expose:>ConsulExposeConfig Upstreams:*ConsulUpstream "
        "TransparentProxy:>ConsulTransparentProxy Config:a"
    ),
    "ConsulGatewayBindAddress": "Name:# Address:s Port:i",
    "ConsulGatewayTLSConfig": (
        "Enabled:b TLSMinVersion=tls_min_version:s TLSMaxVersion=tls_max_version:s CipherSuites:l "
        "SDS:>ConsulGatewayTLSSDSConfig"
    ),
    "ConsulIngressListener": "Port:i Protocol:s Services=service:*ConsulIngressService",
    "ConsulLinkedService": "Name:s CAFile=ca_file:s CertFile:s KeyFile:s SNI:s",
    "ConsulExposeConfig": "Paths=path:*ConsulExposePath",
    "ConsulUpstream": (
        "DestinationName:s DestinationNamespace:s DestinationPeer:s DestinationPartition:s DestinationType:s "
        "LocalBindPort:i Datacenter:s LocalBindAddress:s LocalBindSocketPath:s LocalBindSocketMode:s "
        "MeshGateway:>ConsulMeshGateway Config:a"
    ),
    "ConsulTransparentProxy": (
        "UID:s OutboundPort:i ExcludeInboundPorts:l ExcludeOutboundPorts:n ExcludeOutboundCIDRs:l ExcludeUIDs:l NoDNS:b"
    ),
    "ConsulGatewayTLSSDSConfig": "ClusterName:s CertResource:s",
    "ConsulIngressService": (
        "Name:s Hosts:l TLS:>ConsulGatewayTLSConfig RequestHeaders:>ConsulHTTPHeaderModifiers "
        "ResponseHeaders:>ConsulHTTPHeaderModifiers MaxConnections:i MaxPendingRequests:i MaxConcurrentRequests:i"
    ),
    "ConsulExposePath": "Path:s Protocol:s LocalPathPort:i ListenerPort:s",
    "ConsulMeshGateway": "Mode:s",
    "ConsulHTTPHeaderModifiers": "Add:m Set:m Remove:l",
}
"""``Field=hcl_name:kind`` for each section (the HCL name only where it is not the field's own in snake case). Kinds: s
text, i whole number, b boolean, d nanoseconds, l texts, n numbers, m texts by name, h lists of texts by name, a
anything by name, # the label of the block; >, * and % one section, a list of them, and sections by name.

Source: the Go types of Nomad's own API client (github.com/hashicorp/nomad/api), without fields that its servers write
and those that are taken for nothing any more.
"""

_WORDS = {
    "s": (str, "text"),
    "#": (str, "text"),
    "i": (int, "a whole number"),
    "d": (int, "a whole number of nanoseconds"),
    "b": (bool, "true or false"),
    "l": (list, "a list"),
    "n": (list, "a list"),
    "*": (list, "a list"),
    "m": (dict, "a mapping"),
    "h": (dict, "a mapping"),
    "a": (dict, "a mapping"),
    ">": (dict, "a mapping"),
    "%": (dict, "a mapping"),
}


class NomadField(Struct, frozen=True):
    """One field: its name in HCL, its kind as in the table, and the section that it leads to ("" for a value)."""

    hcl: str
    kind: str
    section: str = ""

    def takes(self, value: object) -> bool:
        """Whether Nomad can read a value there; an empty one stands for the default."""
        wanted = _WORDS[self.kind][0]
        return value is None or (isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool))

    @property
    def words(self) -> str:
        """What it takes, in words."""
        return _WORDS[self.kind][1]


@cache
def nomad_fields(section: str) -> dict[str, NomadField]:
    """The fields of a section (Job, TaskGroup, Task, ...) by their names in the API."""
    return dict(_field(written) for written in _TABLE[section].split())


def _field(written: str) -> tuple[str, NomadField]:
    names, _, kind = written.partition(":")
    name, _, hcl = names.partition("=")
    return name, NomadField(hcl or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower(), kind[0], kind[1:])
